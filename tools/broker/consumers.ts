import type { DeliveryPolicy } from '../../src/infrastructure/contracts/retry-policy.js';
import { continueTrace } from '../../src/infrastructure/observability/request-context.js';
import { RefusedError } from '../errors.js';
import { DeliveryFailed, errorAttributes } from './delivery-errors.js';
import type { TriggerManifest } from './manifests.js';
import type { StoredEvent } from './stored-event.js';
import type { Answer, Subscribers } from './subscribers.js';
import { isEvent, read, toHttp } from './wire.js';

/** A recipient of events: the subscriber of a Trigger, or its dead letter sink. */
export interface Consumer {
  readonly name: string;
  readonly policy: DeliveryPolicy;
  /** A successful delivery, as text for a terminal; the status follows. */
  readonly delivered: string;
  readonly isDeadLetterSink: boolean;
  /** Gets the events that this consumer fails to handle. */
  readonly deadLetterSink?: Consumer;
  /** Makes one attempt. @throws DeliveryFailed, DeliveryRefused, or the reason of `signal` */
  attempt(event: StoredEvent, signal: AbortSignal): Promise<Handled>;
}

/** The answer of a consumer that has handled an event. */
export interface Handled {
  readonly status: number;
  /** A new event for the broker, not yet checked by an ingress. */
  readonly reply?: StoredEvent;
}

/** The addresses of a Trigger. `url` is undefined when the address of a Service is not known. */
export interface Addresses {
  readonly subscriber: { readonly url?: string };
  readonly deadLetterSink?: { readonly url?: string };
}

/** The subscriber of a Trigger, with the dead letter sink if the manifest has one. */
export function consumerOf(trigger: TriggerManifest, addresses: Addresses, subscribers: Subscribers): Consumer {
  const name = triggerName(trigger);
  const { timeoutMs = 0, ...delivery } = trigger.delivery;
  // Knative adds no jitter.
  const policy = { ...delivery, timeoutMs, jitter: false };
  const post = (event: StoredEvent, to: keyof Addresses, signal: AbortSignal) => {
    const url = addresses[to]?.url;
    if (!url) throw unknownAddress(`http://${trigger[to]?.service}.${trigger.namespace}`);
    const message = requestOf(event, to, trigger.namespace);
    return subscribers.post(url, message, { timeoutMs: trigger.delivery.timeoutMs, signal });
  };
  const deadLetterSink: Consumer = {
    name: `${name} dead letters`,
    policy,
    isDeadLetterSink: true,
    delivered: `kept by the dead letter sink of ${name}`,
    attempt: async (event, signal) => ({ status: (await post(event, 'deadLetterSink', signal)).status }),
  };
  return {
    name,
    policy,
    isDeadLetterSink: false,
    delivered: `to ${name}`,
    ...(addresses.deadLetterSink && { deadLetterSink }),
    attempt: async (event, signal) => {
      const answer = await post(event, 'subscriber', signal);
      const reply = replyIn(answer, event);
      return { status: answer.status, ...(reply && { reply }) };
    },
  };
}

/** A Trigger as the name of a consumer. */
export function triggerName({ namespace, name }: TriggerManifest): string {
  return `${namespace}/${name}`;
}

/** The event as its dead letter sink gets it. Measured: error attributes that the event already has are kept. */
export function deadLetter(event: StoredEvent, error: unknown): StoredEvent {
  return { ...errorAttributes(error), ...event };
}

function unknownAddress(address: string): DeliveryFailed {
  const info = { destination: address, code: 500, body: `dispatch error: Post "${address}": no such host` };
  return new DeliveryFailed('its address is unknown: pass --service NAME=URL', info);
}

function requestOf(event: StoredEvent, to: keyof Addresses, namespace: string) {
  const { headers, body } = toHttp(event, to);
  headers['kn-namespace'] = namespace;
  headers.traceparent = continueTrace(headers.traceparent).replace(/..$/, '00');
  headers['user-agent'] = 'meshy-laptop-broker';
  // A real broker is written in Go, whose client asks for gzip and decodes it.
  headers['accept-encoding'] = 'gzip';
  if (to === 'subscriber') headers.prefer = 'reply';
  return { headers, body };
}

/**
 * The event in the answer of a subscriber. Its time to live is always that of the event it replies to.
 * @throws DeliveryFailed when the answer has a body that is no event
 */
function replyIn(answer: Answer, { knativebrokerttl, _mesh }: StoredEvent): StoredEvent | undefined {
  if (answer.body.length === 0 && !isEvent(answer)) return undefined;
  const headers = { traceparent: _mesh.headers.traceparent!, ...answer.headers };
  try {
    if (!isEvent(answer)) throw new RefusedError(`no event in ${JSON.stringify(answer.body.toString('utf8', 0, 50))}`);
    return { ...read({ headers, body: answer.body }, _mesh.broker), knativebrokerttl };
  } catch (error) {
    // The filter of a real broker answers 502 here; the dead letter has no reason.
    throw new DeliveryFailed(`${answer.status}, which a broker treats as 502: ${(error as Error).message}`);
  }
}
