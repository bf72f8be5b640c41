import { fillMesh, type BacklogTable } from './backlog.js';
import { endProcess, nextMessage, residentMb, startProcess } from './processes.js';
import type { SettledInMs } from './replica.js';
import {
  alternating,
  median,
  NO_POSTGRES,
  perSecond,
  ratioRow,
  type Findings,
  type Row,
  type TestBed,
} from './rounds.js';

const [FEW, MANY] = [1000, 1_000_000];
/** Messages that are settled during a measurement, and before it. */
const MESSAGES = { SQLite: 60_000, PostgreSQL: 20_000 };
const WARM_UP = { SQLite: 20_000, PostgreSQL: 10_000 };
/** Each round inserts a million rows first, so there are fewer rounds. */
const MAX_ROUNDS = 3;
const SAMPLE_EVERY_MS = 50;

interface Measured {
  /** Messages settled per second. */
  readonly throughput: number;
  /** The start of the relay, in ms; not part of the throughput. */
  readonly startMs: number;
  /** Inserting a message for each settled one, in ms; part of the throughput. */
  readonly topUpMs: number;
  /** Resident memory in MB: at the start of the relay, its maximum, and at the end. */
  readonly memory: { readonly start: number; readonly peak: number; readonly end: number };
}

/** Messages settled per second, and memory, with a million rows pending, against a thousand. */
export async function pending({ rounds, newDatabasePath, newPostgresDatabase }: TestBed): Promise<Findings> {
  const times = Math.min(rounds, MAX_ROUNDS);
  const rows: Row[] = [];
  const topUps: string[] = [];
  const add = async (databases: Databases, table: BacklogTable, database: (() => Promise<string>) | undefined) => {
    const { row, topUp } = await measure(databases, table, times, database);
    rows.push(row);
    if (topUp) topUps.push(topUp);
  };
  for (const table of ['mesh_delivery', 'mesh_outbox'] as const) {
    await add('SQLite', table, async () => `sqlite:${newDatabasePath()}`);
    await add('PostgreSQL', table, newPostgresDatabase);
  }
  const n = (value: number) => value.toLocaleString('en');
  return {
    rows,
    notes: `**Pending.** The time for ${n(MESSAGES.SQLite)} messages (PostgreSQL: ${n(MESSAGES.PostgreSQL)}), the oldest first, after ${n(WARM_UP.SQLite)} (${n(WARM_UP.PostgreSQL)}) to warm
up, without a pause and in a separate process; ${times} rounds. A message is inserted for each settled one, so that about a thousand or a million are pending all
the time. The process inserts them itself, 250 by one statement, over the connection that it writes with: a second process would compete for the
lock of a SQLite file. With a thousand and with a million pending, the inserts
took per message ${topUps.join('; ')}. In one process a backlog consists of deliveries, because the commit of a message creates them; with a
broker it waits in the outbox. Memory is resident memory in MB: at the start, at its maximum, and at the end. The start of the relay looks for
deliveries of consumers in other processes, and isn't part of the throughput.`,
  };
}

type Databases = keyof typeof MESSAGES;

/** @returns a row of the table, and the time for inserting messages */
async function measure(
  databases: Databases,
  table: BacklogTable,
  rounds: number,
  database: (() => Promise<string>) | undefined,
): Promise<{ row: Row; topUp?: string }> {
  const n = (value: number) => value.toLocaleString('en');
  const where = table === 'mesh_outbox' ? 'in the outbox' : 'as deliveries';
  const what = `throughput, ${databases}, ${n(MANY)} rows pending ${where}`;
  if (!database) return { row: { what, measured: NO_POSTGRES, against: '', aim: 'at least 0.9' } };
  const [few, many] = (await alternating(
    rounds,
    async () => settle(await database(), table, databases, FEW),
    async () => settle(await database(), table, databases, MANY),
  )) as [Measured[], Measured[]];
  const row = ratioRow(
    { what, measured: shown(many), against: `${n(FEW)} pending: ${shown(few)}` },
    throughput(many) / throughput(few),
    { atLeast: 0.9 },
  );
  const [fewUs, manyUs] = [few, many].map((of) => (1000 * median(of.map((it) => it.topUpMs))).toFixed(1));
  return { row, topUp: `${fewUs} and ${manyUs} µs (${databases}, ${where})` };
}

async function settle(
  database: string,
  table: BacklogTable,
  databases: Databases,
  howManyPending: number,
): Promise<Measured> {
  const child = await startProcess('replica.ts', { DATABASE: database });
  await fillMesh(database, { howMany: howManyPending, table });
  const messages = MESSAGES[databases];
  const memory: number[] = [];
  const sample = () => memory.push(residentMb(child.pid!));
  sample();
  const timer = setInterval(sample, SAMPLE_EVERY_MS);
  const over = nextMessage<SettledInMs>(child, (message) => 'ms' in message);
  child.send({ settle: messages, warmUp: WARM_UP[databases], topUp: { table, first: howManyPending } });
  const { ms, startMs, topUpMs } = await over;
  clearInterval(timer);
  sample();
  await endProcess(child);
  return {
    throughput: (1000 * messages) / ms,
    startMs,
    topUpMs,
    memory: { start: memory[0]!, peak: Math.max(...memory), end: memory.at(-1)! },
  };
}

const throughput = (rounds: readonly Measured[]) => median(rounds.map((it) => it.throughput));

function shown(rounds: readonly Measured[]): string {
  const startMs = Math.round(median(rounds.map((it) => it.startMs)));
  return `${perSecond(throughput(rounds))}; ${memoryOf(rounds)}; relay started in ${startMs} ms`;
}

function memoryOf(rounds: readonly Measured[]): string {
  const middle = (of: keyof Measured['memory']) => Math.round(median(rounds.map(({ memory }) => memory[of])));
  return `${middle('start')}, ${middle('peak')}, ${middle('end')} MB`;
}
