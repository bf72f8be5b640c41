import type { BrokerFailure } from '../outbox/outbox-dispatcher.js';
import type { FailedAttempt } from './publish-attempt.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/** Failures in a row before the broker counts as unavailable. */
const FAILURES_UNTIL_UNAVAILABLE = 3;
/** Different messages refused in a row, or refusals before anything was accepted, until K_SINK counts as wrong. */
const REFUSALS_UNTIL_SUSPENDED = 3;
/** Longest pause between attempts, in ms. */
const MAX_PAUSE_MS = 3000;

/** What a message remembers of its first rejection: how many others had been accepted by then. */
export interface Rejection {
  acceptedBefore?: number;
}

/** Failures of one kind in a row. */
interface Failures {
  readonly since: number;
  readonly messages: Set<string>;
  count: number;
  reason: string;
  status?: number;
}

/** What the responses of a broker tell about the broker itself. */
export class BrokerHealth {
  /** Nothing is sent before this time, on the clock of `performance.now()`. */
  pausedUntil = 0;
  private accepted = 0;
  private failuresInARow = 0;
  private failingSince = 0;
  private refusals?: Failures;
  private absences?: Failures;

  constructor(
    private readonly url: string,
    private readonly logger: MeshLogger,
  ) {}

  /** While the broker is unavailable, one request at a time probes whether it is back. */
  get isUnavailable(): boolean {
    return this.failuresInARow >= FAILURES_UNTIL_UNAVAILABLE;
  }

  /** Why the broker takes nothing until an operator acts, if that is so. */
  get suspendedReason(): string | undefined {
    const { refusals } = this;
    if (!refusals) return undefined;
    const { messages, count, status } = refusals;
    const isSuspended =
      messages.size >= REFUSALS_UNTIL_SUSPENDED || (this.accepted === 0 && count >= REFUSALS_UNTIL_SUSPENDED);
    if (!isSuspended) return undefined;
    const isToken = status === 401 || status === 403;
    return isToken
      ? `The broker answers ${status}: check the token that this process sends (option broker.tokenFile), and the event policies of the broker (${this.url}).`
      : `The broker refuses every message (${status}): check that K_SINK is its address (${this.url}).`;
  }

  get refused(): BrokerFailure | undefined {
    return this.refusals && factsOf(this.refusals);
  }

  get unreachable(): BrokerFailure | undefined {
    return this.absences && factsOf(this.absences);
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
    this.refusals = this.absences = undefined;
    return wasUnavailable;
  }

  /**
   * @param id of the message
   * @param facts for the log
   */
  failed(id: string, failure: FailedAttempt, facts: object): void {
    if (failure.kind === 'undelivered')
      return this.logger.warn(facts, 'The broker could not deliver the message: will be sent again');
    const wasSuspended = this.suspendedReason !== undefined;
    if (failure.kind === 'refused') this.refusals = withFailure(this.refusals, id, failure);
    else this.absences = withFailure(this.absences, id, failure);
    if (this.failuresInARow === 0) this.failingSince = Date.now();
    const wasUnavailable = this.isUnavailable;
    this.failuresInARow++;
    const reason = this.suspendedReason;
    if (reason && !wasSuspended)
      this.logger.error({ sink: this.url }, `${reason} Publishing is suspended; no message is lost`);
    if (!this.isUnavailable) return this.logger.warn(facts, 'Not published: will be sent again');
    const waitMs = Math.max(pauseMs(this.failuresInARow - FAILURES_UNTIL_UNAVAILABLE), failure.retryAfterMs);
    this.pausedUntil = performance.now() + waitMs;
    if (!wasUnavailable && !reason)
      this.logger.warn({ ...facts, sink: this.url }, 'The broker is unavailable: messages wait in the outbox');
  }

  /**
   * Decides what a 400 means. Knative up to 1.12 answers 400 for a broker that doesn't exist. If other messages were
   * accepted since the first rejection of this one, the message is at fault.
   */
  isFaultOfMessage(rejection: Rejection): boolean {
    if (rejection.acceptedBefore !== undefined && this.accepted > rejection.acceptedBefore) return true;
    rejection.acceptedBefore ??= this.accepted;
    return false;
  }
}

function withFailure(before: Failures | undefined, id: string, { error, status }: FailedAttempt): Failures {
  const failures = before ?? { since: Date.now(), messages: new Set<string>(), count: 0, reason: '' };
  // More ids say nothing more, and an outage may have many.
  if (failures.messages.size < REFUSALS_UNTIL_SUSPENDED) failures.messages.add(id);
  failures.count++;
  failures.reason = error.message;
  failures.status = status;
  return failures;
}

function factsOf({ since, count, reason }: Failures): BrokerFailure {
  return { since: new Date(since).toISOString(), attempts: count, reason };
}

/** The wait after the n-th failure, in ms: doubled from 50 ms on, at most 3 s, spread by a tenth to either side. */
export function pauseMs(n: number): number {
  return Math.min(50 * 2 ** Math.min(n, 10), MAX_PAUSE_MS) * (0.9 + 0.2 * Math.random());
}
