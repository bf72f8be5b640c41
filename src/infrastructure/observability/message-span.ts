import type { SpanFacts } from './tracing.js';

/** The parts of a CloudEvent that a span names. */
interface TracedEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly subject?: string | null | undefined;
  readonly traceparent?: unknown;
}

/**
 * The span of a step of a message, with the attributes of OpenTelemetry's semantic conventions for messaging and CloudEvents.
 * Its parent is the span that the event carries, unless one is active.
 * @see https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
 * @see https://opentelemetry.io/docs/specs/semconv/cloudevents/cloudevents-spans/
 */
export function messageSpan(
  step: 'create' | 'send' | 'process' | 'handle',
  kind: SpanFacts['kind'],
  event: TracedEvent,
  consumer?: string,
): SpanFacts {
  const { id, type, source, subject, traceparent } = event;
  return {
    name: `${step} ${type}`,
    kind,
    parent: typeof traceparent === 'string' ? traceparent : undefined,
    attributes: {
      'messaging.system': 'meshy',
      'messaging.operation.name': step,
      'messaging.operation.type': step === 'handle' ? 'process' : step,
      'messaging.destination.name': type,
      'messaging.message.id': id,
      'messaging.consumer.group.name': consumer,
      'cloudevents.event_id': id,
      'cloudevents.event_source': source,
      'cloudevents.event_spec_version': '1.0',
      'cloudevents.event_type': type,
      'cloudevents.event_subject': subject ?? undefined,
    },
  };
}
