/** Wrong arguments of a command. `tools/command-line.ts` prints the message and the usage, and exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A request that is refused as things are; nothing was changed. The message says why, in one line. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';

  /** @param status of the HTTP answer, where the request came over HTTP */
  constructor(
    message: string,
    readonly status = 400,
  ) {
    super(message);
  }
}
