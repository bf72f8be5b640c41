/** Metadata key of a route that knows `Prefer: wait`. */
export const WAITS = 'mesh:waits';

/** Longest wait that a client may ask for, in seconds. */
const MAX_WAIT_S = 10;

/**
 * How long a client wants to wait for the outcome, in ms: `Prefer: wait=5` (RFC 7240, in seconds). A value that isn't
 * understood is ignored, as the RFC demands.
 */
export function preferredWaitMs(prefer: string | undefined): number {
  const seconds = /(?:^|[,;]\s*)wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)/i.exec(prefer ?? '')?.[1];
  return Math.min(Number(seconds ?? 0), MAX_WAIT_S) * 1000;
}
