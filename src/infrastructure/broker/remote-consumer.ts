import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { MESSAGE_UNIT, type Consumer } from '../delivery/delivery-worker.js';
import { consumerAt } from './dead-letter-sink.js';
import { insertDeadLetter } from '../store/dead-letter-rows.js';
import { claimDelivery } from '../store/delivery-rows.js';
import { Reject } from '../contracts/message.js';
import { isRetryable, type DeliveryPolicy } from '../delivery/retry-policy.js';
import { isSuccess, type CloudEventsClient } from './cloudevents-client.js';

/**
 * A consumer behind an address, for dead letters that are replayed: tried like any other, and among the dead letters
 * again when it fails.
 */
export function remoteConsumer(
  url: string,
  sink: CloudEventsClient,
  work: UnitOfWork,
  policy: DeliveryPolicy,
): Consumer {
  return {
    name: url,
    policy,
    deliver: async (delivery) => {
      const { status, body, retryAfterMs } = await sink.post(url, delivery.event);
      if (isSuccess(status)) {
        const isOurs = await work.run(() => claimDelivery(work.sql, delivery), MESSAGE_UNIT);
        return isOurs ? 'forwarded' : 'lease-lost';
      }
      const answer = `${url} answered ${status}${body && `: ${body.slice(0, 300)}`}`;
      if (!isRetryable(status)) throw new Reject(answer);
      throw Object.assign(new Error(answer), { retryAfterMs });
    },
    deadLetter: (sql, letter) =>
      insertDeadLetter(sql, { ...letter, consumer: consumerAt(new URL(url)), destination: url }),
  };
}
