/** Where the consumers live that other processes host. */
export class ConsumerAddresses {
  /** @param services base URLs by module */
  constructor(private readonly services: Readonly<Record<string, string>>) {}

  /**
   * The address to send a dead letter to: the destination that the broker named if a module of this application lives
   * there, else the known address of the consumer. A sender of dead letters can't choose where we post.
   */
  addressOf(consumer: string, destination: string | null): string | undefined {
    const origins = Object.values(this.services).map((base) => new URL(base).origin);
    if (destination !== null && origins.includes(new URL(destination).origin)) return destination;
    const base = this.services[consumer];
    return base && `${base}/mesh/${consumer}`;
  }
}

/** The consumer behind an address: its module for `/mesh/<module>`, else the address itself. */
export function consumerAt(url: URL): string {
  return /^\/mesh\/([a-z][\w-]*)$/.exec(url.pathname)?.[1] ?? url.href;
}
