import type { Logger } from '@nestjs/common';

/** After so many failures in a row it is the broker that is out of order. */
const FAILURES_UNTIL_UNAVAILABLE = 3;
/** So many different messages that are called bad in a row say more of the address than of them. */
const REJECTIONS_UNTIL_SUSPENDED = 3;
/** The longest pause, in ms. */
const MAX_PAUSE_MS = 3000;

/** Which messages have been called bad, and how many had been accepted by then. */
export interface Rejection {
  acceptedBefore?: number;
}

/** What a broker's answers say of the broker itself. It gives no reasons: they are read by what else it answers. */
export class BrokerHealth {
  /** Nothing is sent before, on the clock of `performance.now()`. */
  pausedUntil = 0;
  private accepted = 0;
  private failuresInARow = 0;
  private failingSince = 0;
  private readonly rejectedIds = new Set<string>();

  constructor(
    private readonly url: string,
    private readonly logger: Logger,
  ) {}

  /** It takes nothing at present: one request at a time, with pauses, finds out when it does again. */
  get isUnavailable(): boolean {
    return this.failuresInARow >= FAILURES_UNTIL_UNAVAILABLE;
  }

  /** Why its address seems wrong, if it does. */
  get suspendedReason(): string | undefined {
    if (this.rejectedIds.size < REJECTIONS_UNTIL_SUSPENDED) return undefined;
    return `The broker refuses every message: is ${this.url} its address?`;
  }

  /** @returns whether it was out of order until now */
  succeeded(): boolean {
    const isBack = this.isUnavailable;
    if (isBack) {
      this.logger.log({ sink: this.url, afterMs: Date.now() - this.failingSince }, 'The broker takes messages again');
    }
    this.accepted++;
    this.failuresInARow = 0;
    this.pausedUntil = 0;
    this.rejectedIds.clear();
    return isBack;
  }

  /**
   * @param patienceMs what the broker asks to wait
   * @param facts for the log
   */
  failed(patienceMs: number, facts: object): void {
    if (this.failuresInARow === 0) this.failingSince = Date.now();
    const was = this.isUnavailable;
    this.failuresInARow++;
    if (!this.isUnavailable) return this.logger.warn(facts, 'Not published; will be sent again');
    const waitMs = Math.max(pauseMs(this.failuresInARow - FAILURES_UNTIL_UNAVAILABLE), patienceMs);
    this.pausedUntil = performance.now() + waitMs;
    if (!was) this.logger.warn({ ...facts, sink: this.url }, 'The broker takes no messages; they wait in the outbox');
  }

  /**
   * A message was called bad, in a way that may mean the address as well: some brokers say 400 when it is they who don't
   * exist. While others pass, it is the message; when several in a row are refused, it is the address.
   * @returns whether it is the message
   */
  isFaultOfMessage(id: string, blame: Rejection): boolean {
    if (blame.acceptedBefore !== undefined && this.accepted > blame.acceptedBefore) return true;
    blame.acceptedBefore ??= this.accepted;
    const was = this.suspendedReason;
    this.rejectedIds.add(id);
    const is = this.suspendedReason;
    if (!was && is) this.logger.error({ sink: this.url }, `${is} Publishing is suspended; nothing is lost`);
    return false;
  }
}

/** The wait after the n-th failure, in ms: doubling from 50 to the longest, spread by a tenth to either side. */
export function pauseMs(n: number): number {
  return Math.min(50 * 2 ** Math.min(n, 10), MAX_PAUSE_MS) * (0.9 + 0.2 * Math.random());
}
