import { Reject } from '../contracts/message.js';
import { MESSAGE_UNIT, type Consumer } from '../delivery/consumer.js';
import { consumerAt } from '../delivery/consumer-addresses.js';
import type { Journal } from '../delivery/journal.js';
import type { DeliveryPolicy } from '../contracts/retry-policy.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { insertDeadLetter } from '../store/dead-letter-rows.js';
import { claimDelivery } from '../store/delivery-rows.js';
import type { CloudEventsClient } from './cloudevents-client.js';
import { isRetriedByKnative, isSuccess } from './response-classes.js';

/**
 * A consumer behind an address, for requeued dead letters: retried like any other, and a dead letter again if it fails.
 * @param isAddress whether the URL is the address of a module. Rows may hold others, of an earlier release or of an earlier
 *   configuration: nothing is posted there
 */
export function remoteConsumer(
  url: string,
  isAddress: boolean,
  client: CloudEventsClient,
  work: UnitOfWork,
  policy: DeliveryPolicy,
  journal: Journal,
): Consumer {
  return {
    name: url,
    policy,
    journal,
    deliver: async (delivery) => {
      if (!isAddress) throw new Reject(`${url} is the address of no module here: replay the dead letter`);
      const { status, body, retryAfterMs } = await client.post(url, delivery.event);
      if (isSuccess(status)) {
        const isOurs = await work.run(() => claimDelivery(work.sql, delivery), MESSAGE_UNIT);
        return isOurs ? 'forwarded' : 'lease-lost';
      }
      const answer = `${url} answered ${status}${body && `: ${body.slice(0, 300)}`}`;
      if (!isRetriedByKnative(status)) throw new Reject(answer);
      throw Object.assign(new Error(answer), { retryAfterMs });
    },
    deadLetter: (sql, message) =>
      insertDeadLetter(sql, { ...message, consumer: consumerAt(new URL(url)), destination: url }),
  };
}
