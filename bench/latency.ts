import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import { v7 as uuidv7 } from 'uuid';
import { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';
import { percentile } from '../workshop/lab/statistics.js';
import { TEXT } from './backlog.js';
import { handlerStarts, openNotes, WriteNote } from './notes.js';
import { alternating, median, type Findings, type Row, type TestBed } from './rounds.js';

const POLL_MS = 500;
/** Messages of a round: through the relay one after another, through the poll independently of each other. */
const [RELAYED, POLLED] = [500, 250];

/** The time from commit to the start of the handler in an idle process, against a poll every 500 ms. */
export async function latency({ rounds, newDatabasePath, newPostgresDatabase }: TestBed): Promise<Findings> {
  const values = await alternating(
    rounds,
    () => latencyOfRelay(`sqlite:${newDatabasePath()}`),
    () => latencyOfPoll(`sqlite:${newDatabasePath()}`),
  );
  const [mesh, poll] = values.map((of) => [0.5, 0.99].map((share) => median(of.map((it) => percentile(it, share)))));
  const [[p50, p99], [pollP50, pollP99]] = [mesh!, poll!] as [[number, number], [number, number]];
  const against = `a poll every ${POLL_MS} ms: p50 ${Math.round(pollP50)} ms, p99 ${Math.round(pollP99)} ms`;
  return {
    rows: [
      {
        what: 'commit to handler start, idle system',
        against,
        measured: `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
        ratio: `${(p50 / pollP50).toFixed(4)}, ${(p99 / pollP99).toFixed(4)}`,
        aim: 'p50 under 0.5 ms, p99 under 2 ms',
        isReached: p50 < 0.5 && p99 < 2,
      },
      ...(newPostgresDatabase ? [await onPostgres(rounds, newPostgresDatabase)] : []),
    ],
    notes: `**Commit to handler start.** In one process on SQLite, ${RELAYED} messages a round, each after the one before is handled. The poll is the
same application with a relay that is started every ${POLL_MS} ms until no message is left; ${POLLED} messages a round, at times
independent of the poll.`,
  };
}

async function onPostgres(rounds: number, newDatabase: () => Promise<string>): Promise<Row> {
  const [values] = await alternating(rounds, async () => latencyOfRelay(await newDatabase()));
  const [p50, p99] = [0.5, 0.99].map((share) => median(values!.map((it) => percentile(it, share)))) as [number, number];
  return {
    what: 'commit to handler start, idle system, PostgreSQL',
    measured: `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
    against: '',
    aim: 'p50 under 2 ms, p99 under 8 ms',
    isReached: p50 < 2 && p99 < 8,
  };
}

/** @returns the latency of each message, in ms */
async function latencyOfRelay(database: string): Promise<number[]> {
  const { app, commit } = await open(database);
  const found: number[] = [];
  for (let n = 0; n < RELAYED; n++) {
    const { id, committed } = await commit();
    while (!handlerStarts.byNote!.has(id)) await wait(1);
    found.push(Math.max(0, handlerStarts.byNote!.get(id)! - committed));
    await wait(2);
  }
  await app.close();
  return found;
}

/** @returns the latency of each message, in ms */
async function latencyOfPoll(database: string): Promise<number[]> {
  const { app, commit } = await open(database);
  const relay = app.get(Relay);
  await relay.stop(0);
  let polling = Promise.resolve();
  const poll = async () => {
    await relay.start(app.get(InboxReceiver).consumers);
    await relay.stop(performance.now() + POLL_MS);
  };
  const timer = setInterval(() => {
    polling = polling.then(poll);
  }, POLL_MS);
  const committed = new Map<string, number>();
  for (let n = 0; n < POLLED; n++) {
    const it = await commit();
    committed.set(it.id, it.committed);
    await wait(Math.random() * 30);
  }
  while (handlerStarts.byNote!.size < POLLED) await wait(10);
  clearInterval(timer);
  await polling;
  await app.close();
  return [...committed].map(([id, at]) => Math.max(0, handlerStarts.byNote!.get(id)! - at));
}

async function open(database: string) {
  const app = await openNotes(database);
  const [work, commands] = [app.get(UnitOfWork), app.get(CommandBus)];
  handlerStarts.byNote = new Map();
  const commit = async () => {
    const id = uuidv7();
    let committed = 0;
    await work.run(async () => {
      await commands.execute(new WriteNote(id, { text: TEXT }));
      work.unit.afterCommit(() => (committed = performance.now()));
    });
    return { id, committed };
  };
  return { app, commit };
}
