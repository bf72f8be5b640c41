import { cpus } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import type { Outcome } from './report.js';
import { percentile } from './statistics.js';

/** Period of the timer whose delay is measured, in ms. */
const PERIOD_MS = 10;

/**
 * Measures how late the timers of this process fire. The lab does almost nothing while users wait, so a delay means that
 * other processes keep the cores of the machine busy.
 */
export class TimerDelay {
  private readonly delays: number[] = [];
  private last = performance.now();
  private readonly timer = setInterval(() => {
    const now = performance.now();
    this.delays.push(Math.max(0, now - this.last - PERIOD_MS));
    this.last = now;
  }, PERIOD_MS);

  /** Stops measuring. @returns the 99th percentile, in ms */
  stop(): number {
    clearInterval(this.timer);
    return percentile(this.delays, 0.99);
  }
}

/** How long the CPU is observed, in ms. */
const OBSERVED_MS = 300;

/**
 * Measures which share of the CPU all programs use, from 0 to 1. Call it while the step is at rest: then these are the
 * programs that have nothing to do with the lab.
 */
export async function cpuInUse(): Promise<number> {
  const before = cpuTimes();
  await wait(OBSERVED_MS);
  const after = cpuTimes();
  const all = after.all - before.all;
  return all > 0 ? 1 - (after.idle - before.idle) / all : 0;
}

/** CPU time of all cores since the machine was started, in ms. */
function cpuTimes(): { idle: number; all: number } {
  let [idle, all] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    all += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, all };
}

/**
 * How much the machine itself lengthens waits, in ms: the spread (p99 - p50) of the waits without a fault, or the delay
 * of the lab's timers, whichever is greater.
 * @param outcomes of one step; the spread of those under a fault does not count
 */
export function noiseMs(outcomes: readonly Outcome[]): number {
  return Math.max(
    0,
    ...outcomes.map(({ fault, p50Ms, p99Ms, timerDelayMs }) =>
      Math.max(timerDelayMs, fault === 'none' ? p99Ms - p50Ms : 0),
    ),
  );
}
