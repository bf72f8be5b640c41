import type { CloudEventV1 } from 'cloudevents';
import { continueTrace, type RequestContext } from '../observability/request-context.js';

/**
 * A CloudEvent 1.0, in the type of the `cloudevents` SDK. The mesh sends the extensions `correlationid`, `causationid`,
 * `partitionkey` and `traceparent`; extensions of other senders are kept as they are.
 */
export type CloudEvent = CloudEventV1<unknown>;

/** The value of an extension if it is a string. */
export function extension(event: CloudEvent, name: string): string | undefined {
  const value = event[name];
  return typeof value === 'string' ? value : undefined;
}

/** The request context of an event: for log lines about it, and for the messages that its handler sends. */
export function requestContextOf(event: CloudEvent): RequestContext {
  return {
    correlationId: extension(event, 'correlationid') ?? event.id,
    traceparent: extension(event, 'traceparent') ?? continueTrace(),
  };
}
