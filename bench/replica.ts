import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';
import { insertOf, type Place } from './backlog.js';
import { openNotes, settled } from './notes.js';

/*
 * The application of the notes as a process of its own, on the DATABASE of its environment. Its relay stands still until it
 * is told to go; each time it says when so many messages were settled, and all the time how many have been.
 */

/** What it is told: to settle so many messages, which are there; or as many as there are. */
export interface Go {
  readonly go: number | 'on';
  /** Messages that it settles before the clock starts. */
  readonly warmUp?: number;
  /** Whether it puts as many messages there as it settles, and where: as many are pending all the time. */
  readonly topUp?: { readonly place: Place; readonly first: number };
}

/** What became of the messages that it was told to settle; times are in ms. */
export interface Took {
  /** From the start of its relay, or the last message that didn't count, to the last one. */
  readonly ms: number;
  readonly startMs: number;
  /** Its statements that put messages there, for each of them. */
  readonly topUpMs: number;
}

/** What it tells: that it is ready; how many were settled since it was told to go; that those it was told are. */
export type Told = { readonly ready: true } | { readonly settled: number } | Took;

const TELL_EVERY_MS = 10;
/** Messages that are put there together. */
const TOP_UP = 250;

const database = process.env.DATABASE!;
const app = await openNotes(database);
const [relay, work] = [app.get(Relay), app.get(UnitOfWork)];
await relay.stop(0);
const tell = (what: Told) => process.send!(what);

process.on('message', (message: Go) => void go(message));
process.once('disconnect', () => process.exit());
tell({ ready: true });

async function go({ go: howMany, warmUp = 0, topUp }: Go): Promise<void> {
  const last = settled.next(howMany === 'on' ? Infinity : warmUp + howMany);
  const warm = warmUp > 0 ? settled.reached(warmUp) : undefined;
  if (howMany === 'on') setInterval(() => tell({ settled: settled.count }), TELL_EVERY_MS);
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
  tell({ ms, startMs: started - asked, topUpMs });
}

/**
 * Puts as many messages there as are settled, over the connection that writes anyway: somebody else's would keep us waiting
 * for the lock of a SQLite file. @returns ms that its statements took, for each message
 */
async function keepPending({ place, first }: NonNullable<Go['topUp']>, over: AbortSignal): Promise<number> {
  const insert = insertOf(database, { howMany: TOP_UP, place }, '$1');
  let [added, ms] = [0, 0];
  while (!over.aborted) {
    if (settled.count - added < TOP_UP) {
      await wait(1);
      continue;
    }
    const put = async () => {
      const began = performance.now();
      await work.sql.run(insert, [first + added]);
      ms += performance.now() - began;
    };
    await work.run(put, { isMessage: true });
    added += TOP_UP;
    if (place === 'mesh_outbox') relay.wake();
    else relay.wakeConsumer('notes');
  }
  return ms / added;
}
