import type { Logger } from '@nestjs/common';

/** Failures in a row before the broker counts as unavailable. */
const FAILURES_UNTIL_UNAVAILABLE = 3;
/** Different messages in a row answered 400 before K_SINK counts as wrong. */
const REJECTIONS_UNTIL_SUSPENDED = 3;
/** Longest pause between attempts, in ms. */
const MAX_PAUSE_MS = 3000;

/** What a message remembers of its first rejection: how many others had been accepted by then. */
export interface Rejection {
  acceptedBefore?: number;
}

/** What the responses of a broker tell about the broker itself. */
export class BrokerHealth {
  /** Nothing is sent before this time, on the clock of `performance.now()`. */
  pausedUntil = 0;
  private accepted = 0;
  private failuresInARow = 0;
  private failingSince = 0;
  private readonly rejectedIds = new Set<string>();

  constructor(
    private readonly url: string,
    private readonly logger: Logger,
  ) {}

  /** While the broker is unavailable, one request at a time probes whether it is back. */
  get isUnavailable(): boolean {
    return this.failuresInARow >= FAILURES_UNTIL_UNAVAILABLE;
  }

  /** Why the address of the broker seems wrong, if it does. */
  get suspendedReason(): string | undefined {
    if (this.rejectedIds.size < REJECTIONS_UNTIL_SUSPENDED) return undefined;
    return `The broker refuses every message: check that K_SINK is its address (${this.url}).`;
  }

  /** @returns whether the broker was unavailable until now */
  succeeded(): boolean {
    const wasUnavailable = this.isUnavailable;
    if (wasUnavailable) {
      const afterMs = Date.now() - this.failingSince;
      this.logger.log({ sink: this.url, afterMs }, 'The broker accepts messages again');
    }
    this.accepted++;
    this.failuresInARow = 0;
    this.pausedUntil = 0;
    this.rejectedIds.clear();
    return wasUnavailable;
  }

  /**
   * @param retryAfterMs the wait that the broker asks for
   * @param facts for the log
   */
  failed(retryAfterMs: number, facts: object): void {
    if (this.failuresInARow === 0) this.failingSince = Date.now();
    const wasUnavailable = this.isUnavailable;
    this.failuresInARow++;
    if (!this.isUnavailable) return this.logger.warn(facts, 'Not published: will be sent again');
    const waitMs = Math.max(pauseMs(this.failuresInARow - FAILURES_UNTIL_UNAVAILABLE), retryAfterMs);
    this.pausedUntil = performance.now() + waitMs;
    if (!wasUnavailable)
      this.logger.warn({ ...facts, sink: this.url }, 'The broker is unavailable: messages wait in the outbox');
  }

  /**
   * Decides what a 400 means. Some versions of Knative answer 400 for a broker that doesn't exist. If other messages were
   * accepted since the first rejection of this one, the message is at fault; if several messages in a row are rejected,
   * the address is.
   * @returns whether the message is at fault
   */
  isFaultOfMessage(id: string, rejection: Rejection): boolean {
    if (rejection.acceptedBefore !== undefined && this.accepted > rejection.acceptedBefore) return true;
    rejection.acceptedBefore ??= this.accepted;
    const wasSuspended = this.suspendedReason !== undefined;
    this.rejectedIds.add(id);
    const reason = this.suspendedReason;
    if (reason && !wasSuspended)
      this.logger.error({ sink: this.url }, `${reason} Publishing is suspended; no message is lost`);
    return false;
  }
}

/** The wait after the n-th failure, in ms: doubled from 50 ms on, at most 3 s, spread by a tenth to either side. */
export function pauseMs(n: number): number {
  return Math.min(50 * 2 ** Math.min(n, 10), MAX_PAUSE_MS) * (0.9 + 0.2 * Math.random());
}
