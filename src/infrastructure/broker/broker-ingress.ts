import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { MalformedEvent } from '../cloudevents/attributes.js';
import { toEvents } from '../cloudevents/http-parser.js';
import { DeadLetterSink } from './dead-letter-sink.js';
import { isTraceparent } from '../observability/request-context.js';
import { DELIVERY } from '../observability/telemetry.js';
import { Reject } from '../contracts/message.js';
import { InboxReceiver } from '../delivery/inbox-receiver.js';
import { UnknownType } from '../delivery/unknown-type.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Relay } from '../outbox/relay.js';
import { DatabaseUnavailable, isDatabaseUnusable } from '../persistence/sql.js';
import { authorizationOf, KeysUnavailable, TOKEN_VERIFIER, type TokenVerifier } from '../http/bearer-tokens.js';
import { retryAfterOf } from '../http/problem.js';
import { partsOf } from '../http/json-body.js';
import { readBody } from '../http/request-body.js';
import { refusalStatus, withoutValues } from './ingress-errors.js';
import { IngressSlots } from './ingress-slots.js';
import { assertMayDeliver, type Sender } from './senders.js';
import { shortProblem } from './short-problem.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** The injection token of the senders that may deliver, where tokens are required. */
export const SENDERS = Symbol('SENDERS');
/** The injection token of a boolean: whether a broker delivers to this process. */
export const RECEIVES = Symbol('RECEIVES');
/** The injection token of a boolean: whether a broker may also deliver to `POST /`. */
export const AT_ROOT = Symbol('AT_ROOT');

/** Largest event, or batch of events, in bytes. */
const MAX_BODY_BYTES = 1024 * 1024;
/** Most events in a batch. */
const MAX_BATCH = 100;
/** Most fields and elements of a body: parsing and renaming them takes time in which nothing else happens. */
const MAX_PARTS = 100_000;
/** Longest time that `POST /mesh/flush` takes, in ms. */
const MAX_FLUSH_MS = 20_000;

/**
 * Where a broker delivers: `POST /mesh/<module>`, and `POST /` for all modules of this process. It comes before every
 * other middleware, because brokers send any media type and need their own answers: an empty success after the commit, 400 or
 * 422 for an event that can never succeed. Knative would retry 404, 408, 409 and 429.
 */
@Injectable()
export class BrokerIngress {
  private readonly logger = new MeshLogger('BrokerIngress');
  private readonly slots = new IngressSlots();

  constructor(
    private readonly receiver: InboxReceiver,
    private readonly registry: HandlerRegistry,
    private readonly relay: Relay,
    private readonly deadLetters: DeadLetterSink,
    @Inject(TOKEN_VERIFIER) private readonly tokens: TokenVerifier | undefined,
    @Inject(SENDERS) private readonly senders: readonly Sender[],
    @Inject(RECEIVES) private readonly receives: boolean,
    @Inject(AT_ROOT) private readonly atRoot: boolean,
  ) {}

  /** @returns false, having done nothing, when the request isn't to the address of a consumer */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    const segment = this.receives ? consumerSegment(request.url ?? '') : undefined;
    const isDelivery = segment !== undefined && request.method === 'POST' && (segment !== '' || this.atRoot);
    if (isDelivery) {
      void this.answer(segment, request, response);
      return true;
    }
    if (!segment || !this.registry.hosts(segment)) return false;
    const body = shortProblem(405, `Cannot ${request.method} ${request.url?.slice(0, 100)}: an event is sent by POST`);
    response.writeHead(405, { allow: 'POST', 'content-type': 'application/problem+json' }).end(body);
    return true;
  }

  private async answer(segment: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A socket that is destroyed has no address any more.
    const { remoteAddress } = request.socket;
    try {
      await this.authorize(segment, request);
      await this.receive(segment, request, response);
      response.writeHead(204).end();
    } catch (error) {
      if (response.destroyed) return;
      const { status, detail } = this.problemOf(error, segment, remoteAddress);
      const body = shortProblem(status, detail);
      response.writeHead(status, {
        'content-type': 'application/problem+json',
        'content-length': Buffer.byteLength(body),
        ...(status === 503 && { 'retry-after': String(retryAfterOf(error)) }),
        ...(status === 401 && { 'www-authenticate': 'Bearer' }),
        // The rest of the body isn't read, unless the body was too large.
        ...(!request.complete && status !== 413 && { connection: 'close' }),
      });
      response.end(body);
    }
  }

  /** @throws Unauthorized, Forbidden or KeysUnavailable if the token of the request doesn't allow the delivery */
  private async authorize(segment: string, request: IncomingMessage): Promise<void> {
    if (!this.tokens) return;
    assertMayDeliver(this.senders, await this.tokens.verify(authorizationOf(request)), segment);
  }

  private async receive(segment: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (segment === 'flush') return this.relay.idle(performance.now() + MAX_FLUSH_MS);
    const body = await readBody(request, response, MAX_BODY_BYTES);
    // Unknown paths share their room.
    const path = this.registry.hosts(segment) ? segment : '';
    // After the body, so that a slow sender holds no slot.
    await this.slots.run(path, body.length, response, () => this.deliverEvents(segment, request, body));
  }

  private async deliverEvents(segment: string, request: IncomingMessage, body: Buffer): Promise<void> {
    if (/json/i.test(request.headers['content-type'] ?? '') && body.length > MAX_PARTS && partsOf(body) > MAX_PARTS)
      throw new MalformedEvent('body', `more than ${MAX_PARTS} fields and elements`);
    // What is malformed in a batch keeps nothing else from being handled.
    const malformed: MalformedEvent[] = [];
    const parsed = toEvents({ headers: request.headersDistinct, body }, MAX_BATCH, malformed);
    // The events of a batch have traces of their own.
    const events = parsed.length === 1 ? parsed.map((it) => inTrace(it, request.headers.traceparent)) : parsed;
    const failures: unknown[] = [...malformed];
    const bySubject = new Map<string | undefined, CloudEvent[]>();
    for (const event of events) bySubject.set(event.subject, [...(bySubject.get(event.subject) ?? []), event]);
    // Begun together, events share transactions; those of a subject keep their order.
    await Promise.all([...bySubject.values()].map((inOrder) => this.deliverAll(segment, inOrder, failures)));
    // A handler may throw undefined, so count failures instead of testing the value.
    if (failures.length === 0) return;
    const retriable = failures.findIndex((error) => !(error instanceof Reject));
    throw failures[Math.max(retriable, 0)] as Error;
  }

  /** One failure doesn't stop the other deliveries; their inboxes drop what the broker sends again. */
  private async deliverAll(segment: string, events: readonly CloudEvent[], failures: unknown[]): Promise<void> {
    for (const event of events) {
      const consumers = this.consumersAt(segment, event);
      const deliveries = consumers.map((consumer) => () => this.deliver(consumer, event));
      if (consumers.length === 0) deliveries.push(() => this.keepForRelease(event));
      for (const deliver of deliveries) await deliver().catch((error: unknown) => failures.push(error));
    }
  }

  private consumersAt(segment: string, event: CloudEvent): readonly string[] {
    return segment !== '' ? [segment] : this.registry.subscriptions(event.type).map(({ consumer }) => consumer);
  }

  private async deliver(consumer: string, event: CloudEvent): Promise<void> {
    if (consumer === 'dead-letters' && this.deadLetters.isOpen) return this.deadLetters.store(event);
    const began = Date.now();
    try {
      const outcome = await DELIVERY.run({ consumer, event }, () => this.receiver.receive(consumer, event), String);
      const times = { lagMs: began - Date.parse(event.time ?? ''), ms: Date.now() - began };
      this.logger.message({ ...factsOf(event, consumer), ...times }, outcome);
    } catch (error) {
      if (!(error instanceof UnknownType) || !this.registry.hosts(consumer)) throw error;
      await this.keepForRelease(event, consumer);
    }
  }

  /** Accepts an event of an unknown type: a broker's retries end long before a rolling update does. */
  private async keepForRelease(event: CloudEvent, module?: string): Promise<void> {
    if (this.registry.hosted.length === 0) throw new UnknownType(event.type);
    await this.receiver.keepForRelease(event, module);
    this.logger.warn(factsOf(event, module), 'Unknown type: waits for another release');
  }

  /** Logs the error and decides on the answer. */
  private problemOf(error: unknown, segment: string, address?: string): { status: number; detail: string } {
    const consumer = segment.slice(0, 100);
    const message = error instanceof Error ? error.message : '';
    const refused = refusalStatus(error);
    if (refused !== undefined) {
      this.logger.warn({ consumer, address, status: refused, reason: message.slice(0, 300) }, 'Event refused');
      return { status: refused, detail: message };
    }
    // Without the text of the error, which may hold addresses: the sender isn't known yet. The key set logs it.
    if (error instanceof KeysUnavailable) return { status: 503, detail: 'The keys are not available: send it again' };
    this.logger.error({ consumer, address, err: error as Error }, 'Event not handled: the broker will send it again');
    if (error instanceof DatabaseUnavailable || isDatabaseUnusable(error))
      return { status: 503, detail: 'The database does not answer' };
    return { status: 500, detail: withoutValues(error) };
  }
}

function factsOf({ type, subject, id }: CloudEvent, consumer?: string) {
  return { consumer, type, subject, event: id };
}

/** The path segment after `/mesh/`, '' for `/`, undefined for other paths. */
function consumerSegment(url: string): string | undefined {
  const [path = ''] = url.split('?', 1);
  return path === '/' ? '' : /^\/mesh\/([^/]+)\/?$/.exec(path)?.[1];
}

/** The event in the trace of an HTTP header, if that is another one: the spans of a broker are often collected nowhere. */
function inTrace(event: CloudEvent, header: string | string[] | undefined): CloudEvent {
  const traceId = (traceparent: unknown) => String(traceparent).split('-')[1];
  const isOther = typeof header === 'string' && isTraceparent(header) && traceId(header) !== traceId(event.traceparent);
  return isOther ? { ...event, traceparent: header } : event;
}
