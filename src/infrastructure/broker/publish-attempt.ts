import { MalformedEvent } from '../cloudevents/attributes.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { CloudEventsClient } from './cloudevents-client.js';
import { SLOW_MS } from './bulkheads.js';
import { isBrokerUnavailable, isEventRefused, isSenderRefused, isSuccess } from './response-classes.js';
import type { ClientResponse } from './response-handler.js';

/** Longest `Retry-After` that is honoured, in ms. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * An attempt after which the event stays in the outbox. `refused`: the broker doesn't take events at this address, or not
 * from this process. `unreachable`: the broker doesn't answer, or not properly. `undelivered`: the broker has tried for a
 * while to deliver the event; a consumer and its dead letter sink have failed, or took longer than this process waits.
 */
export interface FailedAttempt {
  readonly kind: 'refused' | 'unreachable' | 'undelivered';
  readonly error: Error;
  readonly status?: number;
  /** The wait that the broker asks for, in ms. */
  readonly retryAfterMs: number;
}

/** What became of an attempt that failed. `dead`: no broker will take the event. */
export type FailedPublishing = { readonly kind: 'dead'; readonly error: Error } | FailedAttempt;

export type PublishOutcome = { readonly kind: 'accepted' } | FailedPublishing;

/**
 * Posts an event to a broker; never throws.
 * @param isFaultOfMessage decides on responses such as 400, which blame the event or the address
 */
export function publish(
  client: Pick<CloudEventsClient, 'post'>,
  url: string,
  event: CloudEvent,
  isFaultOfMessage: (status: number) => boolean,
): Promise<PublishOutcome> {
  const began = performance.now();
  const isSlow = () => performance.now() - began >= SLOW_MS;
  return client.post(url, event).then(
    (response) => (isSuccess(response.status) ? ACCEPTED : refused(response, isSlow(), isFaultOfMessage)),
    (error: Error) => failed(error, isSlow()),
  );
}

const ACCEPTED: PublishOutcome = { kind: 'accepted' };

/** What an answer means that is no success. */
function refused(
  { status, body, retryAfterMs: asked = 0 }: ClientResponse,
  isSlow: boolean,
  isFaultOfMessage: (status: number) => boolean,
): PublishOutcome {
  const error = new Error(`The broker answered ${status}${body ? `: ${body.slice(0, 200)}` : ''}`);
  const isUnavailable = isBrokerUnavailable(status);
  const isRefused = isSenderRefused(status) || !isUnavailable;
  if (isEventRefused(status) || (!isUnavailable && isFaultOfMessage(status))) return { kind: 'dead', error };
  // A synchronous broker answers 500 when a consumer and its dead letter sink have failed.
  const kind = isRefused ? 'refused' : status === 500 && isSlow ? 'undelivered' : 'unreachable';
  return { kind, error, status, retryAfterMs: Math.min(asked, MAX_RETRY_AFTER_MS) };
}

/** What it means that there is no answer. */
function failed(error: Error, isSlow: boolean): PublishOutcome {
  // An event that HTTP can't carry reaches no broker.
  if (error instanceof MalformedEvent) return { kind: 'dead', error };
  const isTimeout = (error as { code?: unknown }).code === 'UND_ERR_HEADERS_TIMEOUT';
  return { kind: isTimeout && isSlow ? 'undelivered' : 'unreachable', error, retryAfterMs: 0 };
}
