import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';
import { insertStatement, type BacklogTable } from './backlog.js';
import { openNotes, settled } from './notes.js';

/*
 * The application of the notes as a process, on the database of the environment variable DATABASE. Its relay runs only
 * after a SettleCommand. It sends a message when all of these messages are settled, or the count in short intervals.
 */

/** Lets the process settle this number of pending messages, or `on`: all messages, and report the count. */
export interface SettleCommand {
  readonly settle: number | 'on';
  /** Messages that are settled before the measurement. */
  readonly warmUp?: number;
  /** Inserts a message for each settled one, so that the number of pending messages stays the same. */
  readonly topUp?: { readonly table: BacklogTable; readonly first: number };
}

/** The result of a SettleCommand. Times are in ms. */
export interface SettledInMs {
  /** From the start of the relay, or the last warm-up message, to the last message. */
  readonly ms: number;
  readonly startMs: number;
  /** Time of the inserts, per message. */
  readonly topUpMs: number;
}

/** The messages of the process: ready, the number of settled messages, or the result. */
export type ReplicaMessage = { readonly ready: true } | { readonly settled: number } | SettledInMs;

const REPORT_EVERY_MS = 10;
/** Messages per insert. */
const TOP_UP_BATCH = 250;

const database = process.env.DATABASE!;
const app = await openNotes(database);
const [relay, work] = [app.get(Relay), app.get(UnitOfWork)];
await relay.stop(0);
const send = (what: ReplicaMessage) => process.send!(what);

process.on('message', (message: SettleCommand) => void settle(message));
process.once('disconnect', () => process.exit());
send({ ready: true });

async function settle({ settle: howMany, warmUp = 0, topUp }: SettleCommand): Promise<void> {
  const last = settled.next(howMany === 'on' ? Infinity : warmUp + howMany);
  const warm = warmUp > 0 ? settled.reached(warmUp) : undefined;
  if (howMany === 'on') setInterval(() => send({ settled: settled.count }), REPORT_EVERY_MS);
  const startingAt = performance.now();
  await relay.start(app.get(InboxReceiver).consumers);
  const started = performance.now();
  const over = new AbortController();
  const toppingUp = topUp && keepPending(topUp, over.signal);
  const ms = (await last) - ((await warm) ?? started);
  over.abort();
  const topUpMs = (await toppingUp) ?? 0;
  // Messages that are inserted from now on stay pending until the next command.
  await relay.stop(0);
  send({ ms, startMs: started - startingAt, topUpMs });
}

/**
 * Inserts a message for each settled one, over the connection of the application: a second one would compete for the lock
 * of a SQLite file. @returns the time of the inserts in ms, per message
 */
async function keepPending({ table, first }: NonNullable<SettleCommand['topUp']>, over: AbortSignal): Promise<number> {
  const insert = insertStatement(database, { howMany: TOP_UP_BATCH, table }, '$1');
  let [added, ms] = [0, 0];
  while (!over.aborted) {
    if (settled.count - added < TOP_UP_BATCH) {
      await wait(1);
      continue;
    }
    const insertBatch = async () => {
      const began = performance.now();
      await work.sql.run(insert, [first + added]);
      ms += performance.now() - began;
    };
    await work.run(insertBatch, { isMessage: true });
    added += TOP_UP_BATCH;
    if (table === 'mesh_outbox') relay.wake();
    else relay.wakeConsumer('notes');
  }
  return ms / added;
}
