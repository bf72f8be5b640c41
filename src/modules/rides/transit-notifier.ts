import { Injectable } from '@nestjs/common';

/** Interval of polling in ms: another process may have changed the transit. */
const POLL_MS = 250;

/** Lets requests wait for changes of a transit. */
@Injectable()
export class TransitNotifier {
  private readonly waiting = new Map<string, Set<() => void>>();

  /** Called after the commit of a change. */
  changed(id: string): void {
    for (const wake of this.waiting.get(id) ?? []) wake();
  }

  /**
   * Reads a transit after each change, until it is as wanted or `ms` have passed.
   * @returns the transit, or undefined when the time has passed first
   */
  async until<View>(
    id: string,
    read: () => Promise<View>,
    isWanted: (transit: View) => boolean,
    ms: number,
  ): Promise<View | undefined> {
    const deadline = performance.now() + ms;
    for (;;) {
      const change = this.nextChange(id, Math.min(POLL_MS, deadline - performance.now()));
      const transit = await read();
      if (isWanted(transit) || performance.now() >= deadline) {
        change.cancel();
        return isWanted(transit) ? transit : undefined;
      }
      await change.happened;
    }
  }

  /** Listens at once, so that a change between reading and waiting isn't missed. */
  private nextChange(id: string, ms: number): { happened: Promise<void>; cancel: () => void } {
    let wake!: () => void;
    const happened = new Promise<void>((resolve) => (wake = resolve));
    const timer = setTimeout(() => wake(), ms);
    const waiting = this.waiting.get(id) ?? new Set();
    this.waiting.set(id, waiting);
    waiting.add(wake);
    const cancel = () => {
      clearTimeout(timer);
      waiting.delete(wake);
      if (waiting.size === 0 && this.waiting.get(id) === waiting) this.waiting.delete(id);
    };
    return { happened: happened.finally(cancel), cancel };
  }
}
