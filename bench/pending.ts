import { fillMesh, type Place } from './backlog.js';
import { endProcess, heard, residentMb, startProcess } from './processes.js';
import type { Took } from './replica.js';
import {
  alternating,
  median,
  NO_POSTGRES,
  perSecond,
  ratioRow,
  type Findings,
  type Row,
  type Stand,
} from './rounds.js';

const [FEW, MANY] = [1000, 1_000_000];
/** Messages that are settled under the clock, whatever is pending. */
const MESSAGES = { SQLite: 20_000, PostgreSQL: 5000 };
/** Rounds take long, as a million rows have to be written first. */
const MOST_ROUNDS = 3;
const SAMPLE_EVERY_MS = 50;

interface Measured {
  /** Messages settled a second. */
  readonly throughput: number;
  /** The start of the relay, in ms, which is not part of that. */
  readonly startMs: number;
  /** Resident memory in MB: when the clock starts, and its highest and last from then on. */
  readonly memory: { readonly start: number; readonly peak: number; readonly end: number };
}

/** Messages settled a second, and memory, with a million rows pending against a thousand. */
export async function pending({ rounds, fresh, freshPostgres }: Stand): Promise<Findings> {
  const times = Math.min(rounds, MOST_ROUNDS);
  const rows: Row[] = [];
  for (const place of ['mesh_delivery', 'mesh_outbox'] as const) {
    rows.push(await measure('SQLite', place, times, async () => `sqlite:${fresh()}`));
    rows.push(await measure('PostgreSQL', place, times, freshPostgres));
  }
  const n = (value: number) => value.toLocaleString('en');
  return {
    rows,
    notes: `**Pending.** The time for ${n(MESSAGES.SQLite)} messages (PostgreSQL: ${n(MESSAGES.PostgreSQL)}), the oldest of the million, or one thousand after the
other, in a process of its own; ${times} rounds. In one process a backlog waits as deliveries, since messages are fanned out by the commit that
leaves them; with a broker it waits in the outbox. Memory is resident, in MB: at the start, at its highest, and at the end. The start of
the relay looks for deliveries of consumers that live elsewhere, and isn't part of the throughput.`,
  };
}

async function measure(
  databases: keyof typeof MESSAGES,
  place: Place,
  rounds: number,
  database: (() => Promise<string>) | undefined,
): Promise<Row> {
  const n = (value: number) => value.toLocaleString('en');
  const where = place === 'mesh_outbox' ? 'in the outbox' : 'as deliveries';
  const what = `throughput, ${databases}, ${n(MANY)} rows pending ${where}`;
  if (!database) return { what, measured: NO_POSTGRES, against: '', aim: 'at least 0.9' };
  const [few, many] = (await alternating(
    rounds,
    async () => settle(await database(), place, MESSAGES[databases], FEW),
    async () => settle(await database(), place, MESSAGES[databases], MANY),
  )) as [Measured[], Measured[]];
  return ratioRow(
    { what, measured: shown(many), against: `${n(FEW)} pending: ${shown(few)}` },
    throughput(many) / throughput(few),
    { atLeast: 0.9 },
  );
}

async function settle(database: string, place: Place, messages: number, howManyPending: number): Promise<Measured> {
  const child = await startProcess('replica.ts', { DATABASE: database });
  let [ms, startMs] = [0, 0];
  const memory: number[] = [];
  const sample = () => memory.push(residentMb(child.pid!));
  for (let first = 0; first < messages; first += howManyPending) {
    await fillMesh(database, { howMany: howManyPending, first, place });
    sample();
    const timer = setInterval(sample, SAMPLE_EVERY_MS);
    const over = heard<Took>(child, (message) => 'ms' in message);
    child.send({ go: Math.min(messages, howManyPending) });
    const took = await over;
    ms += took.ms;
    startMs ||= took.startMs;
    clearInterval(timer);
  }
  sample();
  await endProcess(child);
  return {
    ...{ throughput: (1000 * messages) / ms, startMs },
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
