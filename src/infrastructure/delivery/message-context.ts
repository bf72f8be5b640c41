import { extension, type CloudEvent } from '../cloudevents/cloud-event.js';
import { correlationIdOf } from '../cloudevents/mapping.js';
import { continueTrace, type RequestContext } from '../observability/request-context.js';

/** The context of a module that handles an event. */
export function messageContext(event: CloudEvent, module: string): RequestContext {
  return {
    correlationId: correlationIdOf(event),
    causationId: event.id,
    traceparent: continueTrace(extension(event, 'traceparent')),
    module,
  };
}
