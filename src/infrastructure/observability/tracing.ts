import type { IncomingMessage, ServerResponse } from 'node:http';
import type * as Otel from '@opentelemetry/api';
import { isTraceparent, requestContext, runInContext } from './request-context.js';

/*
 * Spans of OpenTelemetry, where the package @opentelemetry/api is installed and an SDK is registered. Messages carry their trace as
 * `traceparent`, so that a trace goes on behind the outbox, in this process or in others.
 */

/** What a span is about. */
export interface SpanFacts {
  readonly name: string;
  readonly kind: 'INTERNAL' | 'SERVER' | 'CLIENT' | 'PRODUCER' | 'CONSUMER';
  /** A `traceparent`, for what has no active span. */
  readonly parent?: string | undefined;
  readonly attributes: Readonly<Record<string, string | number | boolean | undefined>>;
}

const NAME = 'nestjs-meshy';
/** Where version 1 of the API keeps what an SDK registers. Without an SDK the API would only cost time. */
const REGISTERED = Symbol.for('opentelemetry.js.api.1');

let otel: typeof Otel | undefined;

/** Makes spans from now on, where an SDK has been registered before. */
export async function startTracing(): Promise<void> {
  if (!(REGISTERED in globalThis)) return;
  otel = await import('@opentelemetry/api').catch(() => undefined);
}

/** Runs `work` in a span of its own. Without OpenTelemetry it just runs it. */
export function inSpan<Result>(factsOf: () => SpanFacts, work: () => Promise<Result>): Promise<Result> {
  if (!otel) return work();
  const { span, context, traceparent } = started(otel, factsOf());
  if (!traceparent) return work();
  const { SpanStatusCode } = otel;
  const ended = async () => {
    try {
      return await work();
    } catch (error) {
      // Without the text of the error, which may hold data of users.
      span.setAttribute('error.type', error instanceof Error ? error.name : typeof error);
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  };
  const calling = requestContext();
  return otel.context.with(context, () => (calling ? runInContext({ ...calling, traceparent }, ended) : ended()));
}

/** Marks a moment by a span. @returns its `traceparent`; undefined without OpenTelemetry */
export function markedBySpan(factsOf: () => SpanFacts): string | undefined {
  if (!otel) return undefined;
  const { span, traceparent } = started(otel, factsOf());
  span.end();
  return traceparent;
}

/**
 * Handles a request in a span of its own, or in the one that an instrumentation of HTTP has made. What reads the trace of the
 * request finds this span.
 */
export function inRequestSpan(request: IncomingMessage, response: ServerResponse, handle: () => void): void {
  if (!otel) return handle();
  const active = otel.trace.getActiveSpan();
  if (active) {
    const traceparent = traceparentOf(otel, active);
    if (traceparent) request.headers.traceparent = traceparent;
    return handle();
  }
  const { method = '', url = '', headers } = request;
  const attributes = { 'http.request.method': method, 'url.path': url.split('?', 1)[0]!.slice(0, 300) };
  const facts = {
    name: method,
    kind: 'SERVER',
    parent: headers.traceparent as string | undefined,
    attributes,
  } as const;
  const { span, context, traceparent } = started(otel, facts);
  if (!traceparent) return handle();
  headers.traceparent = traceparent;
  const { SpanStatusCode } = otel;
  response.once('close', () => {
    span.setAttribute('http.response.status_code', response.statusCode);
    if (response.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  });
  otel.context.with(context, handle);
}

function started(api: typeof Otel, { name, kind, parent, attributes }: SpanFacts) {
  const active = api.context.active();
  const remote = api.trace.getSpan(active) ? undefined : spanContextOf(parent);
  const parentContext = remote ? api.trace.setSpanContext(active, remote) : active;
  const span = api.trace.getTracer(NAME).startSpan(name, { kind: api.SpanKind[kind], attributes }, parentContext);
  return { span, context: api.trace.setSpan(parentContext, span), traceparent: traceparentOf(api, span) };
}

/** Undefined where no SDK is registered. */
function traceparentOf(api: typeof Otel, span: Otel.Span): string | undefined {
  const context = span.spanContext();
  if (!api.isSpanContextValid(context)) return undefined;
  return `00-${context.traceId}-${context.spanId}-${context.traceFlags.toString(16).padStart(2, '0')}`;
}

function spanContextOf(traceparent: string | undefined): Otel.SpanContext | undefined {
  if (!isTraceparent(traceparent)) return undefined;
  const [, traceId = '', spanId = '', flags = ''] = traceparent.split('-');
  return { traceId, spanId, traceFlags: parseInt(flags, 16), isRemote: true };
}
