import type { ServerResponse } from 'node:http';

/** Lets so many requests of one kind be worked on at a time; others wait in their order. */
export class Slots {
  private taken = 0;
  private readonly queue: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  /** Runs `work` when there is a slot; not at all when the client has gone by then. */
  async run(response: ServerResponse, work: () => Promise<void>): Promise<void> {
    if (this.taken < this.limit) this.taken++;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      if (!response.destroyed) await work();
    } finally {
      const next = this.queue.shift();
      // The slot goes to the next request.
      if (next) next();
      else this.taken--;
    }
  }
}
