import type { ProcessState, Sample } from './mesh-types';
import { summarize, type Second, type Seen } from './second';
import { Value } from './value';

/** Seconds that the charts show. */
export const SHOWN_SECONDS = 120;
/** A process that was silent for so long is gone, in ms. */
const GONE_MS = 30_000;
/** Shortest time between two renderings, in ms. */
const PERIOD_MS = 950;
/** Wait after a state for those of other processes, in ms. */
const GATHER_MS = 120;
/** Samples that are kept, for the last messages of a module or a message type. */
const KEPT_SAMPLES = 300;

export interface SeenSample extends Sample {
  readonly at: number;
}

export interface Live {
  readonly processes: readonly Seen[];
  /** The latest last. */
  readonly seconds: readonly Second[];
  /** The latest first. */
  readonly samples: readonly SeenSample[];
  /** When a message was last handled or failed; clock of the browser, in ms. */
  readonly changedAt: number;
}

/** All that the stream has told; changes at most once a second. */
export const live = new Value<Live>({ processes: [], seconds: [], samples: [], changedAt: 0 });

const seen = new Map<string, Seen>();
let arrived: SeenSample[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
let publishedAt = 0;

/** Takes a state of the stream. The sums follow with the next rendering. */
export function take(state: ProcessState): void {
  const at = Date.now();
  seen.set(state.process.id, { state, at });
  arrived.push(...state.samples.map((sample) => ({ ...sample, at })));
  timer ??= setTimeout(publish, Math.max(GATHER_MS, publishedAt + PERIOD_MS - at));
}

function publish(): void {
  timer = undefined;
  const now = Date.now();
  publishedAt = now;
  for (const [id, { at }] of seen) if (now - at > GONE_MS) seen.delete(id);
  const processes = [...seen.values()];
  const last = live.get();
  const second = summarize(processes, now);
  live.set({
    processes,
    seconds: [...last.seconds.filter(({ at }) => now - at < SHOWN_SECONDS * 1000), second],
    samples: [...arrived.reverse(), ...last.samples].slice(0, KEPT_SAMPLES),
    changedAt: second.isBusy ? now : last.changedAt,
  });
  arrived = [];
}
