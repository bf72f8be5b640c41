import { Reject } from '../contracts/message.js';
import { formatError } from '../observability/format-error.js';
import { DEAD_LETTER } from '../observability/telemetry.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { insertDeadLetter, type FailedMessage } from '../store/dead-letter-rows.js';
import { attemptsWith } from '../store/delivery-attempts.js';
import { claimDelivery, postponeDelivery, waitingUntil, type Delivery } from '../store/delivery-rows.js';
import { MESSAGE_UNIT, type Consumer } from './consumer.js';
import { waitAfter } from '../contracts/retry-policy.js';
import { UnknownType } from './unknown-type.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/** What became of a delivery whose attempt failed; `lease-lost` when another process has it. */
type FailureOutcome = { retryInMs: number } | { waitInMs: number } | 'dead' | 'lease-lost';

/**
 * Records the failed attempts of one consumer: postponed while the policy allows a retry, else moved to the dead letters.
 * Messages of unknown types wait for the release that knows their type.
 */
export class FailedAttempts {
  constructor(
    private readonly consumer: Consumer,
    private readonly work: UnitOfWork,
    private readonly logger: MeshLogger,
  ) {}

  /** @throws DatabaseUnavailable, and then nothing is recorded */
  async record(delivery: Delivery, error: unknown): Promise<FailureOutcome> {
    const { retry, unknownTypeGraceMs = 0 } = this.consumer.policy;
    const attempts = attemptsWith(delivery);
    if (error instanceof UnknownType && !delivery.isWaiting && unknownTypeGraceMs > 0)
      return this.waitForRelease(delivery, attempts, unknownTypeGraceMs, error);
    const isDead = error instanceof Reject || attempts > retry;
    return isDead
      ? this.moveToDeadLetters(delivery, { event: delivery.event, attempts, error })
      : this.postpone(delivery, attempts, error);
  }

  private async waitForRelease(
    delivery: Delivery,
    attempts: number,
    waitInMs: number,
    error: UnknownType,
  ): Promise<FailureOutcome> {
    const dueAt = waitingUntil(Date.now() + waitInMs);
    if (!(await this.postponeUntil(delivery, { attempts, dueAt, error: formatError(error) }))) return 'lease-lost';
    this.logger.warn({ ...deliveryFacts(delivery), waitInMs, err: error }, 'Unknown type: waits for another release');
    return { waitInMs };
  }

  private async moveToDeadLetters(delivery: Delivery, message: FailedMessage): Promise<'dead' | 'lease-lost'> {
    const isOurs = await this.work.run(async () => {
      const { sql } = this.work;
      if (!(await claimDelivery(sql, delivery))) return false;
      if (this.consumer.deadLetter) await this.consumer.deadLetter(sql, message);
      else await insertDeadLetter(sql, { ...message, consumer: this.consumer.name });
      await this.consumer.journal?.add(sql, { ...message, consumer: this.consumer.name, outcome: 'dead' });
      return true;
    }, MESSAGE_UNIT);
    if (!isOurs) return 'lease-lost';
    const { attempts, error } = message;
    DEAD_LETTER.publish({ consumer: this.consumer.name, event: delivery.event, attempts });
    this.logger.error({ ...deliveryFacts(delivery), attempts, err: error }, 'Failed for good: now a dead letter');
    return 'dead';
  }

  private async postpone(delivery: Delivery, attempts: number, error: unknown): Promise<FailureOutcome> {
    const retryInMs = waitAfter(error, this.consumer.policy, attempts - 1);
    const dueAt = Date.now() + retryInMs;
    if (!(await this.postponeUntil(delivery, { attempts, dueAt, error: formatError(error) }))) return 'lease-lost';
    this.logger.warn({ ...deliveryFacts(delivery), attempts, retryInMs, err: error }, 'Failed: will be retried');
    return { retryInMs };
  }

  private postponeUntil(delivery: Delivery, outcome: Parameters<typeof postponeDelivery>[2]): Promise<boolean> {
    return this.work.run(() => postponeDelivery(this.work.sql, delivery, outcome), MESSAGE_UNIT);
  }
}

/** What the log says of a delivery. */
export function deliveryFacts({ consumer, event }: Delivery) {
  return { consumer, type: event.type, subject: event.subject, event: event.id };
}
