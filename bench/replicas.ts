import type { ChildProcess } from 'node:child_process';
import { fillMesh } from './backlog.js';
import { endProcess, nextMessage, startProcess } from './processes.js';
import type { ReplicaMessage, SettledInMs } from './replica.js';
import { alternating, median, NO_POSTGRES, perSecond, type Findings, type TestBed } from './rounds.js';

/** Messages that are pending at the start of a measurement. */
const MESSAGES = 30_000;
/** Messages that each process settles alone before the measurement, so that its code is compiled. */
const WARM_UP = 10_000;
/** Each round starts three processes, so there are fewer rounds. */
const MAX_ROUNDS = 3;

interface Measured {
  /** Messages settled per second. */
  readonly throughput: number;
  /** Messages settled by each process. */
  readonly perProcess: readonly number[];
}

/** Messages settled per second by two replicas on one PostgreSQL database, against one replica. */
export async function replicas({ rounds, newPostgresDatabase }: TestBed): Promise<Findings> {
  const pending = `${MESSAGES.toLocaleString('en')} pending`;
  const what = `messages settled, PostgreSQL, two replicas in separate processes (${pending})`;
  const aim = 'report';
  if (!newPostgresDatabase) return { rows: [{ what, measured: NO_POSTGRES, against: '', aim }], notes: '' };
  const times = Math.min(rounds, MAX_ROUNDS);
  const values = await alternating(
    times,
    async () => settle(await newPostgresDatabase(), 1),
    async () => settle(await newPostgresDatabase(), 2),
  );
  const [one, two] = values.map((of) => median(of.map(({ throughput }) => throughput))) as [number, number];
  const against = `one replica in a separate process: ${perSecond(one)}`;
  const perProcess = values[1]!.map((it) => it.perProcess.map((n) => n.toLocaleString('en')).join(' and '));
  return {
    rows: [{ what, measured: perSecond(two), against, ratio: (two / one).toFixed(2), aim }],
    notes: `**Replicas** are separate processes with a pool of 10 connections each, and each has settled ${WARM_UP.toLocaleString('en')} messages alone before the
measurement. ${times} rounds, in which the two replicas settled ${perProcess.join('; ')}. All processes, PostgreSQL and the benchmark share
the cores of this machine, so that a second replica gains at most the time that the first one leaves idle.`,
  };
}

async function settle(database: string, howMany: number): Promise<Measured> {
  // One after another, because the first one migrates the database.
  const processes: ChildProcess[] = [];
  for (let n = 0; n < howMany; n++) {
    const child = await startProcess('replica.ts', { DATABASE: database });
    await fillMesh(database, { howMany: WARM_UP, first: n * WARM_UP });
    const warmedUp = nextMessage<SettledInMs>(child, (message) => 'ms' in message);
    child.send({ settle: WARM_UP });
    await warmedUp;
    processes.push(child);
  }
  await fillMesh(database, { howMany: MESSAGES, first: howMany * WARM_UP });
  const started = performance.now();
  const perProcess = processes.map(() => 0);
  await new Promise<void>((resolve) => {
    for (const [index, child] of processes.entries()) {
      child.on('message', (message: ReplicaMessage) => {
        if ('settled' in message) perProcess[index] = message.settled;
        if (perProcess.reduce((sum, it) => sum + it, 0) >= MESSAGES) resolve();
      });
      child.send({ settle: 'on' });
    }
  });
  const ms = performance.now() - started;
  await Promise.all(processes.map(endProcess));
  return { throughput: (1000 * MESSAGES) / ms, perProcess };
}
