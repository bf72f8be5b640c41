import { Injectable } from '@nestjs/common';

/** Also looks by itself this often, in ms: the change may be another process's. */
const LOOK_AGAIN_MS = 250;

/** Lets requests wait for what happens to a ride. */
@Injectable()
export class TransitNotifier {
  private readonly waiting = new Map<string, Set<() => void>>();

  /** A ride has changed, and that is committed. */
  changed(id: string): void {
    for (const wake of this.waiting.get(id) ?? []) wake();
  }

  /**
   * Reads a ride again and again until it is as wanted, or the time (ms) is over.
   * @returns the ride, or undefined when the time was over first
   */
  async until<Ride>(
    id: string,
    read: () => Promise<Ride>,
    isWanted: (ride: Ride) => boolean,
    ms: number,
  ): Promise<Ride | undefined> {
    const deadline = Date.now() + ms;
    for (;;) {
      const change = this.nextChange(id, Math.min(LOOK_AGAIN_MS, deadline - Date.now()));
      const ride = await read();
      if (isWanted(ride) || Date.now() >= deadline) {
        change.cancel();
        return isWanted(ride) ? ride : undefined;
      }
      await change.happened;
    }
  }

  /** Listens from now on, so that a change between reading and waiting isn't missed. */
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
