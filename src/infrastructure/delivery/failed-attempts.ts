import type { Logger } from '@nestjs/common';
import { Reject } from '../contracts/message.js';
import { formatError } from '../observability/format-error.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { insertDeadLetter, type FailedMessage } from '../store/dead-letter-rows.js';
import { claimDelivery, postponeDelivery, type Delivery } from '../store/delivery-rows.js';
import { MESSAGE_UNIT, type Consumer } from './consumer.js';
import { waitAfter } from './retry-policy.js';

/** Records the failed attempts of one consumer: postponed while the policy allows a retry, else moved to the dead letters. */
export class FailedAttempts {
  constructor(
    private readonly consumer: Consumer,
    private readonly work: UnitOfWork,
    private readonly logger: Logger,
  ) {}

  /**
   * @returns when to retry, `dead` when the message is among the dead letters, `lease-lost` when another process has it
   * @throws DatabaseUnavailable, and then nothing is recorded
   */
  async record(delivery: Delivery, error: unknown): Promise<{ retryInMs: number } | 'dead' | 'lease-lost'> {
    const attempts = delivery.attempts + 1;
    const isDead = error instanceof Reject || attempts > this.consumer.policy.retry;
    return isDead
      ? this.moveToDeadLetters(delivery, { event: delivery.event, attempts, error })
      : this.postpone(delivery, attempts, error);
  }

  private async moveToDeadLetters(delivery: Delivery, message: FailedMessage): Promise<'dead' | 'lease-lost'> {
    const isOurs = await this.work.run(async () => {
      const { sql } = this.work;
      if (!(await claimDelivery(sql, delivery))) return false;
      if (this.consumer.deadLetter) await this.consumer.deadLetter(sql, message);
      else await insertDeadLetter(sql, { ...message, consumer: this.consumer.name });
      return true;
    }, MESSAGE_UNIT);
    if (!isOurs) return 'lease-lost';
    const { attempts, error } = message;
    this.logger.error({ ...deliveryFacts(delivery), attempts, err: error }, 'Failed for good: now a dead letter');
    return 'dead';
  }

  private async postpone(
    delivery: Delivery,
    attempts: number,
    error: unknown,
  ): Promise<{ retryInMs: number } | 'lease-lost'> {
    const retryInMs = waitAfter(error, this.consumer.policy, delivery.attempts);
    const postponed = () => postponeDelivery(this.work.sql, delivery, retryInMs, formatError(error));
    if (!(await this.work.run(postponed, MESSAGE_UNIT))) return 'lease-lost';
    this.logger.warn({ ...deliveryFacts(delivery), attempts, retryInMs, err: error }, 'Failed: will be retried');
    return { retryInMs };
  }
}

/** What the log says of a delivery. */
export function deliveryFacts({ consumer, event }: Delivery) {
  return { consumer, type: event.type, subject: event.subject, event: event.id };
}
