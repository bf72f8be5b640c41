import type { ChildProcess } from 'node:child_process';
import { fillMesh } from './backlog.js';
import { endProcess, nextMessage, startProcess } from './processes.js';
import type { ReplicaMessage, SettledInMs } from './replica.js';
import { alternating, median, NO_POSTGRES, perSecond, type Findings, type TestBed } from './rounds.js';

/** Messages that are there when the clock starts. */
const MESSAGES = 30_000;
/** Messages that each process settles alone before that: its code is as fast as it gets then. */
const WARM_UP = 10_000;
/** Rounds take long, as each starts three processes. */
const MAX_ROUNDS = 3;

interface Measured {
  /** Messages settled a second. */
  readonly throughput: number;
  /** Messages that each of the processes has settled. */
  readonly shares: readonly number[];
}

/** Messages settled a second by two replicas on one PostgreSQL database, against one. */
export async function replicas({ rounds, newPostgresDatabase }: TestBed): Promise<Findings> {
  const pending = `${MESSAGES.toLocaleString('en')} pending`;
  const what = `messages settled, PostgreSQL, two replicas, each a process of its own (${pending})`;
  const aim = 'report';
  if (!newPostgresDatabase) return { rows: [{ what, measured: NO_POSTGRES, against: '', aim }], notes: '' };
  const times = Math.min(rounds, MAX_ROUNDS);
  const values = await alternating(
    times,
    async () => settle(await newPostgresDatabase(), 1),
    async () => settle(await newPostgresDatabase(), 2),
  );
  const [one, two] = values.map((of) => median(of.map(({ throughput }) => throughput))) as [number, number];
  const against = `one replica, a process of its own too: ${perSecond(one)}`;
  const shares = values[1]!.map((it) => it.shares.map((share) => share.toLocaleString('en')).join(' and '));
  return {
    rows: [{ what, measured: perSecond(two), against, ratio: (two / one).toFixed(2), aim }],
    notes: `**Replicas** are processes of their own, each with its pool of 10 connections, and each has settled ${WARM_UP.toLocaleString('en')} messages alone before the
clock starts. ${times} rounds, in which the two of them settled ${shares.join('; ')}. All of them, PostgreSQL, and whoever counts share
the cores of this machine, so that a second one gains at most what the first has left idle.`,
  };
}

async function settle(database: string, howMany: number): Promise<Measured> {
  // One after the other: the first migrates.
  const processes: ChildProcess[] = [];
  for (let n = 0; n < howMany; n++) {
    const child = await startProcess('replica.ts', { DATABASE: database });
    await fillMesh(database, { howMany: WARM_UP, first: n * WARM_UP });
    const warm = nextMessage<SettledInMs>(child, (message) => 'ms' in message);
    child.send({ settle: WARM_UP });
    await warm;
    processes.push(child);
  }
  await fillMesh(database, { howMany: MESSAGES, first: howMany * WARM_UP });
  const started = performance.now();
  const shares = processes.map(() => 0);
  await new Promise<void>((resolve) => {
    for (const [index, child] of processes.entries()) {
      child.on('message', (told: ReplicaMessage) => {
        if ('settled' in told) shares[index] = told.settled;
        if (shares.reduce((sum, it) => sum + it, 0) >= MESSAGES) resolve();
      });
      child.send({ settle: 'on' });
    }
  });
  const ms = performance.now() - started;
  await Promise.all(processes.map(endProcess));
  return { throughput: (1000 * MESSAGES) / ms, shares };
}
