/** The failure that a dead letter describes in its `knativeerror*` attributes. */
export interface ErrorInfo {
  readonly destination: string;
  readonly code: number;
  readonly body: string | Buffer;
}

/** A failed attempt. A retry may succeed. */
export class DeliveryFailed extends Error {
  override readonly name = 'DeliveryFailed';

  /** @param retryAfterMs the delay that the subscriber asked for */
  constructor(
    message: string,
    readonly info?: ErrorInfo,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

/** A failed attempt. No retry can succeed. */
export class DeliveryRefused extends Error {
  override readonly name = 'DeliveryRefused';

  constructor(
    message: string,
    readonly info?: ErrorInfo,
  ) {
    super(message);
  }
}

/**
 * The attributes that a dead letter gets from its error: none without an ErrorInfo. Measured: at most 1,024 characters of
 * Base64.
 */
export function errorAttributes(error: unknown): Record<string, string> {
  const { info } = error as { info?: ErrorInfo };
  if (!info) return {};
  return {
    knativeerrordest: info.destination,
    knativeerrorcode: String(info.code),
    knativeerrordata: Buffer.from(info.body).toString('base64').slice(0, 1024),
  };
}
