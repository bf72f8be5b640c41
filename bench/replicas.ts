import type { ChildProcess } from 'node:child_process';
import { fillMesh } from './backlog.js';
import { endProcess, startProcess } from './processes.js';
import type { Told } from './replica.js';
import { alternating, median, NO_POSTGRES, perSecond, type Findings, type Stand } from './rounds.js';

/** Messages that are there when the clock starts. */
const MESSAGES = 5000;
/** Rounds take long, as each starts three processes. */
const MOST_ROUNDS = 3;

/** Messages settled a second by two replicas on one PostgreSQL database, against one. */
export async function replicas({ rounds, freshPostgres }: Stand): Promise<Findings> {
  const what = `the same, two replicas (${MESSAGES.toLocaleString('en')} pending)`;
  const aim = 'report';
  if (!freshPostgres) return { rows: [{ what, measured: NO_POSTGRES, against: '', aim }], notes: '' };
  const times = Math.min(rounds, MOST_ROUNDS);
  const values = await alternating(
    times,
    async () => settle(await freshPostgres(), 1),
    async () => settle(await freshPostgres(), 2),
  );
  const [one, two] = values.map(median) as [number, number];
  const against = `one replica: ${perSecond(one)}`;
  return {
    rows: [{ what, measured: perSecond(two), against, ratio: (two / one).toFixed(2), aim }],
    notes: `**Replicas** are processes of their own, each with its pool of 10 connections. ${times} rounds. All of them and PostgreSQL share
the cores of this machine, so that a second one gains at most what the first has left idle.`,
  };
}

async function settle(database: string, howMany: number): Promise<number> {
  // One after the other: the first migrates.
  const processes: ChildProcess[] = [];
  for (let n = 0; n < howMany; n++) processes.push(await startProcess('replica.ts', { DATABASE: database }));
  await fillMesh(database, { howMany: MESSAGES });
  const started = performance.now();
  const settled = processes.map(() => 0);
  await new Promise<void>((resolve) => {
    for (const [index, child] of processes.entries()) {
      child.on('message', (told: Told) => {
        if ('settled' in told) settled[index] = told.settled;
        if (settled.reduce((sum, it) => sum + it, 0) >= MESSAGES) resolve();
      });
      child.send({ go: 'on' });
    }
  });
  const ms = performance.now() - started;
  await Promise.all(processes.map(endProcess));
  return (1000 * MESSAGES) / ms;
}
