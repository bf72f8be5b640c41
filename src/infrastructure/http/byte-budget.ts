import type { ServerResponse } from 'node:http';

/**
 * Lets bodies of so many bytes together be worked on at a time; others wait in their order. A single body may be larger. Of
 * small values, a parsed body takes up forty times its size.
 */
export class ByteBudget {
  private used = 0;
  private readonly queue: { readonly bytes: number; readonly begin: () => void }[] = [];

  constructor(private readonly limit: number) {}

  /** Runs `work` when there is room; not at all when the client has gone by then. */
  async run(response: ServerResponse, bytes: number, work: () => Promise<void>): Promise<void> {
    if (this.queue.length > 0 || !this.hasRoom(bytes))
      await new Promise<void>((begin) => this.queue.push({ bytes, begin }));
    else this.used += bytes;
    try {
      if (!response.destroyed) await work();
    } finally {
      this.used -= bytes;
      this.beginNext();
    }
  }

  private hasRoom(bytes: number): boolean {
    return this.used === 0 || this.used + bytes <= this.limit;
  }

  private beginNext(): void {
    while (this.queue[0] && this.hasRoom(this.queue[0].bytes)) {
      const { bytes, begin } = this.queue.shift()!;
      this.used += bytes;
      begin();
    }
  }
}
