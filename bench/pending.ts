import { fillMesh, type Place } from './backlog.js';
import { endProcess, heard, residentMb, startProcess } from './processes.js';
import type { Took } from './replica.js';
import { alternating, median, perSecond, ratioRow, type Findings, type Row, type Stand } from './rounds.js';

const [FEW, MANY] = [1000, 1_000_000];
/** Messages that are settled under the clock, whatever is pending. */
const MESSAGES = 20_000;
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

/** Messages settled a second on SQLite, and memory, with a million rows pending against a thousand. */
export async function pending({ rounds, fresh }: Stand): Promise<Findings> {
  const times = Math.min(rounds, MOST_ROUNDS);
  const rows: Row[] = [];
  for (const place of ['mesh_delivery', 'mesh_outbox'] as const) {
    const [few, many] = await alternating(
      times,
      () => settle(`sqlite:${fresh()}`, place, FEW),
      () => settle(`sqlite:${fresh()}`, place, MANY),
    );
    const where = place === 'mesh_outbox' ? 'in the outbox' : 'as deliveries';
    const n = (value: number) => value.toLocaleString('en');
    rows.push(
      ratioRow(
        {
          what: `throughput, SQLite, ${n(MANY)} rows pending ${where}`,
          measured: shown(many!),
          against: `${n(FEW)} pending: ${shown(few!)}`,
        },
        throughput(many!) / throughput(few!),
        { atLeast: 0.9 },
      ),
    );
  }
  return {
    rows,
    notes: `**Pending.** The time for ${MESSAGES.toLocaleString('en')} messages, the oldest ones of the million, or one thousand after the other, in a process of its
own; ${times} rounds. In the process transport a backlog waits as deliveries, since messages are fanned out by the commit that leaves
them; with a broker it waits in the outbox. Where the million is in the outbox, fanning out runs ahead of the handlers, so that more
than the messages that were settled has been fanned out when the clock stops. Memory is resident, at the start, at its highest, and at the end.`,
  };
}

async function settle(database: string, place: Place, howManyPending: number): Promise<Measured> {
  const child = await startProcess('replica.ts', { DATABASE: database });
  let [ms, startMs] = [0, 0];
  const memory: number[] = [];
  const sample = () => memory.push(residentMb(child.pid!));
  for (let first = 0; first < MESSAGES; first += howManyPending) {
    await fillMesh(database, { howMany: howManyPending, first, place });
    sample();
    const timer = setInterval(sample, SAMPLE_EVERY_MS);
    const over = heard<Took>(child, (message) => 'ms' in message);
    child.send({ go: Math.min(MESSAGES, howManyPending) });
    const took = await over;
    ms += took.ms;
    startMs ||= took.startMs;
    clearInterval(timer);
  }
  sample();
  await endProcess(child);
  return {
    ...{ throughput: (1000 * MESSAGES) / ms, startMs },
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
