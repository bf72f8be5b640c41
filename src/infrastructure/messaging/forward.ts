import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { MESSAGE, type Consumer } from './consumer-relay.js';
import { consumerAt } from './dead-letter-sink.js';
import { bury } from './dead-letter-rows.js';
import { Reject } from './message.js';
import { isRetryable, type DeliveryPolicy } from './retry.js';
import { isSuccess, type Sink } from './sink.js';

/**
 * A consumer behind an address, for dead letters that are replayed: tried like any other, and among the dead letters
 * again when it fails.
 */
export function forwardTo(url: string, sink: Sink, work: UnitOfWork, policy: DeliveryPolicy): Consumer {
  return {
    name: url,
    policy,
    deliver: async (event, claim) => {
      const { status, body, retryAfterMs } = await sink.post(url, event);
      if (isSuccess(status)) {
        await work.run(() => claim(work.sql), MESSAGE);
        return 'forwarded';
      }
      const answer = `${url} answered ${status}${body && `: ${body.slice(0, 300)}`}`;
      if (!isRetryable(status)) throw new Reject(answer);
      throw Object.assign(new Error(answer), { retryAfterMs });
    },
    giveUp: (sql, letter) => bury(sql, { ...letter, consumer: consumerAt(new URL(url)), destination: url }),
  };
}
