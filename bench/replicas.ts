import type { ChildProcess } from 'node:child_process';
import { fillMesh } from './backlog.js';
import { endProcess, nextMessage, startProcess } from './processes.js';
import { processorMs, serverMs } from './processor-time.js';
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
  /** Processor time of a message, in µs: of the replicas, and of PostgreSQL. */
  readonly replicaUs: number;
  readonly serverUs: number;
}

/** Messages settled per second by two replicas on one PostgreSQL database, against one replica. */
export async function replicas({ rounds, newPostgresDatabase, postgresPid }: TestBed): Promise<Findings> {
  const pending = `${MESSAGES.toLocaleString('en')} pending`;
  const what = `messages settled, PostgreSQL, two replicas in separate processes (${pending})`;
  const aim = 'report';
  if (!newPostgresDatabase || postgresPid === undefined)
    return { rows: [{ what, measured: NO_POSTGRES, against: '', aim }], notes: '' };
  const times = Math.min(rounds, MAX_ROUNDS);
  const values = await alternating(
    times,
    async () => settle(await newPostgresDatabase(), 1, postgresPid),
    async () => settle(await newPostgresDatabase(), 2, postgresPid),
  );
  const [one, two] = values.map((of) => median(of.map(({ throughput }) => throughput))) as [number, number];
  const against = `one replica in a separate process: ${perSecond(one)}`;
  const us = (index: number, of: 'replicaUs' | 'serverUs') => Math.round(median(values[index]!.map((it) => it[of])));
  const [replicaUs, serverUs] = [us(0, 'replicaUs'), us(0, 'serverUs')];
  const perProcess = values[1]!.map((it) => it.perProcess.map((n) => n.toLocaleString('en')).join(' and '));
  return {
    rows: [{ what, measured: perSecond(two), against, ratio: (two / one).toFixed(2), aim }],
    notes: `**Replicas** are separate processes with a pool of 10 connections each, and each has settled ${WARM_UP.toLocaleString('en')} messages alone before the
measurement. ${times} rounds, in which the two replicas settled ${perProcess.join('; ')}. All processes, PostgreSQL and the benchmark share
the cores of this machine, so that a second replica gains at most the time that the first one leaves idle. With one replica a message takes ${replicaUs} µs
of the replica's processor time and ${serverUs} µs of PostgreSQL's, with two ${us(1, 'replicaUs')} and ${us(1, 'serverUs')} µs. A replica handles messages on one core: with a core for
each replica and enough of them for PostgreSQL, one replica would settle at most ${perSecond(1_000_000 / replicaUs)}, and each core of PostgreSQL serves
${(replicaUs / serverUs).toFixed(1)} replicas. More replicas than that wait for PostgreSQL.`,
  };
}

async function settle(database: string, howMany: number, postgres: number): Promise<Measured> {
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
  const replicaMs = () => processes.reduce((sum, { pid }) => sum + processorMs(pid!), 0);
  const before = { replicas: replicaMs(), server: serverMs(postgres) };
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
  const replicaUs = (1000 * (replicaMs() - before.replicas)) / MESSAGES;
  const serverUs = (1000 * (serverMs(postgres) - before.server)) / MESSAGES;
  await Promise.all(processes.map(endProcess));
  return { throughput: (1000 * MESSAGES) / ms, perProcess, replicaUs, serverUs };
}
