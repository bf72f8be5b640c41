import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';
import { insertStatement, type BacklogTable } from './backlog.js';
import { openNotes, settled } from './notes.js';

/*
 * The application of the notes as a process of its own, on the DATABASE of its environment. Its relay stands still until it
 * is told to go; each time it says when so many messages were settled, and all the time how many have been.
 */

/** What it is told: to settle so many messages, which are there; or as many as there are. */
export interface SettleCommand {
  readonly settle: number | 'on';
  /** Messages that it settles before the clock starts. */
  readonly warmUp?: number;
  /** Whether it puts as many messages there as it settles, and where: as many are pending all the time. */
  readonly topUp?: { readonly table: BacklogTable; readonly first: number };
}

/** What became of the messages that it was told to settle; times are in ms. */
export interface SettledInMs {
  /** From the start of its relay, or the last message that didn't count, to the last one. */
  readonly ms: number;
  readonly startMs: number;
  /** Its statements that put messages there, for each of them. */
  readonly topUpMs: number;
}

/** What it tells: that it is ready; how many were settled since it was told to go; that those it was told are. */
export type ReplicaMessage = { readonly ready: true } | { readonly settled: number } | SettledInMs;

const REPORT_EVERY_MS = 10;
/** Messages that are put there together. */
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
  const asked = performance.now();
  await relay.start(app.get(InboxReceiver).consumers);
  const started = performance.now();
  const over = new AbortController();
  const toppingUp = topUp && keepPending(topUp, over.signal);
  const ms = (await last) - ((await warm) ?? started);
  over.abort();
  const topUpMs = (await toppingUp) ?? 0;
  // What is filled in from now on is left alone until it is told to go again.
  await relay.stop(0);
  send({ ms, startMs: started - asked, topUpMs });
}

/**
 * Puts as many messages there as are settled, over the connection that writes anyway: somebody else's would keep us waiting
 * for the lock of a SQLite file. @returns ms that its statements took, for each message
 */
async function keepPending({ table, first }: NonNullable<SettleCommand['topUp']>, over: AbortSignal): Promise<number> {
  const insert = insertStatement(database, { howMany: TOP_UP_BATCH, table }, '$1');
  let [added, ms] = [0, 0];
  while (!over.aborted) {
    if (settled.count - added < TOP_UP_BATCH) {
      await wait(1);
      continue;
    }
    const put = async () => {
      const began = performance.now();
      await work.sql.run(insert, [first + added]);
      ms += performance.now() - began;
    };
    await work.run(put, { isMessage: true });
    added += TOP_UP_BATCH;
    if (table === 'mesh_outbox') relay.wake();
    else relay.wakeConsumer('notes');
  }
  return ms / added;
}
