import { MalformedEvent } from '../cloudevents/attributes.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { CloudEventsClient } from './cloudevents-client.js';
import { isBrokerUnavailable, isEventRefused, isSuccess } from './response-classes.js';
import type { ClientResponse } from './response-handler.js';

/** Longest `Retry-After` that is honoured, in ms. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * What became of an attempt. `retry`: the event stays in the outbox, `retryAfterMs` being the wait that the broker asks
 * for. `dead`: no broker will take the event.
 */
export type PublishOutcome =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'retry'; readonly error: unknown; readonly retryAfterMs: number }
  | { readonly kind: 'dead'; readonly error: Error };

/**
 * Posts an event to a broker; never throws.
 * @param isFaultOfMessage decides on responses such as 400, which blame the event or the address
 */
export async function publish(
  client: Pick<CloudEventsClient, 'post'>,
  url: string,
  event: CloudEvent,
  isFaultOfMessage: () => boolean,
): Promise<PublishOutcome> {
  let response: ClientResponse;
  try {
    response = await client.post(url, event);
  } catch (error) {
    // An event that HTTP can't carry reaches no broker.
    return error instanceof MalformedEvent ? { kind: 'dead', error } : { kind: 'retry', error, retryAfterMs: 0 };
  }
  const { status, retryAfterMs = 0, body } = response;
  if (isSuccess(status)) return { kind: 'accepted' };
  const error = new Error(`The broker answered ${status}${body ? `: ${body.slice(0, 200)}` : ''}`);
  const isFinal = isEventRefused(status) || (!isBrokerUnavailable(status) && isFaultOfMessage());
  return isFinal
    ? { kind: 'dead', error }
    : { kind: 'retry', error, retryAfterMs: Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) };
}
