import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { fromHttp, MalformedEvent } from '../cloudevents/http-binding.js';
import { DeadLetterSink } from './dead-letter-sink.js';
import { firstLine } from '../observability/format-error.js';
import { Reject } from '../contracts/message.js';
import { InboxReceiver } from '../delivery/inbox-receiver.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Relay } from '../outbox/relay.js';
import { DatabaseUnavailable } from '../persistence/sql.js';
import type { BrokerTokens } from './oidc/broker-tokens.js';
import { KeysUnavailable, Unauthorized } from './oidc/unauthorized.js';

/** Who may deliver; everybody where there is none. */
export const BROKER_TOKENS = Symbol('BROKER_TOKENS');
/** Whether `POST /` is a place where a broker delivers. */
export const AT_ROOT = Symbol('AT_ROOT');

/** Largest event, or batch of them, in bytes. */
const MAX_BODY_BYTES = 1024 * 1024;
/** An error's body of 769 bytes ends Knative's dispatcher (knative.dev/eventing 1.12 to HEAD, event_dispatcher.go). */
const MAX_ERROR_BYTES = 500;
/** `POST /mesh/flush` ends by then, in ms. */
const MAX_FLUSH_MS = 20_000;

class RefusedRequest extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Where a broker delivers: `POST /mesh/<module>`, and `POST /` for all modules of this process. In front of everything
 * else that looks at a request: a broker sends any media type, and is answered in its own way. A success is empty, and
 * comes after the commit; what will never succeed gets a 400 or 422, since 404, 408, 409, 425 and 429 are tried again.
 */
@Injectable()
export class BrokerIngress {
  private readonly logger = new Logger('Receiving');

  constructor(
    host: HttpAdapterHost,
    private readonly receiver: InboxReceiver,
    private readonly registry: HandlerRegistry,
    private readonly relay: Relay,
    private readonly deadLetters: DeadLetterSink,
    @Inject(BROKER_TOKENS) private readonly tokens: Pick<BrokerTokens, 'verify'> | undefined,
    @Inject(AT_ROOT) atRoot: boolean,
  ) {
    host.init$.subscribe(() => {
      host.httpAdapter.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
        const place = request.method === 'POST' ? consumerSegment(request.url ?? '') : undefined;
        if (place === undefined || (place === '' && !atRoot)) next();
        else void this.answer(place, request, response);
      });
    });
  }

  private async answer(place: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.tokens?.verify(request.headers.authorization);
      await this.receive(place, request);
      response.writeHead(204).end();
    } catch (error) {
      if (response.destroyed) return;
      const { status, detail } = this.classify(error, place);
      const body = problem(status, detail);
      response.writeHead(status, {
        'content-type': 'application/problem+json',
        'content-length': Buffer.byteLength(body),
        ...(status === 401 && { 'www-authenticate': 'Bearer' }),
        // What is left of a body that nobody wants to read.
        ...(!request.complete && { connection: 'close' }),
      });
      response.end(body);
    }
  }

  private async receive(place: string, request: IncomingMessage): Promise<void> {
    if (place === 'flush') return this.relay.idle(performance.now() + MAX_FLUSH_MS);
    const events = fromHttp({ headers: request.headersDistinct, body: await bodyOf(request) });
    const failures: unknown[] = [];
    for (const event of events) {
      const consumers = this.consumersAt(place, event);
      if (consumers.length === 0) failures.push(new Reject(`No module here has a handler for ${event.type}`));
      for (const consumer of consumers) {
        // One that fails doesn't keep the others from what is theirs; who has it already won't take it again.
        await this.deliver(consumer, event).catch((error: unknown) => failures.push(error));
      }
    }
    // Whatever was thrown, and be it undefined: only where nothing was, everything is handled.
    if (failures.length === 0) return;
    const again = failures.findIndex((error) => !(error instanceof Reject));
    throw failures[Math.max(again, 0)] as Error;
  }

  private consumersAt(place: string, event: CloudEvent): readonly string[] {
    return place !== '' ? [place] : this.registry.subscriptions(event.type).map(({ consumer }) => consumer);
  }

  private async deliver(consumer: string, event: CloudEvent): Promise<void> {
    if (consumer === 'dead-letters' && this.deadLetters.isOpen) return this.deadLetters.store(event);
    const began = Date.now();
    const outcome = await this.receiver.receive(consumer, event);
    const facts = { consumer, type: event.type, subject: event.subject, event: event.id };
    this.logger.log({ ...facts, lagMs: began - Date.parse(event.time ?? ''), ms: Date.now() - began }, outcome);
  }

  private classify(error: unknown, place: string): { status: number; detail: string } {
    const message = error instanceof Error ? error.message : '';
    const refused = (status: number) => {
      this.logger.warn({ place: place.slice(0, 100), status, reason: message.slice(0, 300) }, 'Refused an event');
      return { status, detail: message };
    };
    if (error instanceof RefusedRequest) return refused(error.status);
    if (error instanceof MalformedEvent) return refused(400);
    if (error instanceof Reject) return refused(422);
    if (error instanceof Unauthorized) return refused(401);
    const isLater = error instanceof KeysUnavailable || error instanceof DatabaseUnavailable;
    this.logger.error(
      { place: place.slice(0, 100), err: error as Error },
      'An event was not handled; it will come again',
    );
    return { status: isLater ? 503 : 500, detail: isLater ? message : firstLine(error) };
  }
}

/** The part of a path behind `/mesh/`, '' for `/`; undefined for what isn't ours. */
function consumerSegment(url: string): string | undefined {
  const [path = ''] = url.split('?', 1);
  return path === '/' ? '' : /^\/mesh\/([^/]+)\/?$/.exec(path)?.[1];
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = () => new RefusedRequest(413, `An event has at most ${MAX_BODY_BYTES} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/** Without halves of characters. */
const wellFormed = (text: string) => Buffer.from(text).toString();

/** A problem document (RFC 9457) that a broker survives. */
function problem(status: number, detail: string): string {
  for (let length = Math.min(detail.length, 300); ; length = Math.floor(length / 2)) {
    const text = JSON.stringify({ type: 'about:blank', status, detail: wellFormed(detail.slice(0, length)) });
    if (Buffer.byteLength(text) <= MAX_ERROR_BYTES) return text;
  }
}
