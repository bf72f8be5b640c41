import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DeadLetterSink } from '../../src/infrastructure/broker/dead-letter-sink.js';
import type { HandlerRegistry } from '../../src/infrastructure/contracts/handler-registry.js';
import {
  DeadLetters,
  type DeadLetter,
  type DeadLetterFilter,
} from '../../src/infrastructure/dead-letters/dead-letters.js';
import type { RetentionPolicy } from '../../src/infrastructure/maintenance/retention.js';
import type { Relay } from '../../src/infrastructure/outbox/relay.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { asText } from './stored-event.js';

/*
 * The administration of the laptop broker, under the paths of the application, so that
 * `npm run mesh:dead-letters -- list --url http://localhost:8090` works on the broker, too.
 */

const PATH = /^\/mesh\/(outbox|dead-letters)(?:\/([\w-]+))?(\/replay)?$/;

/** The consumers of the broker are all in this process, so no address has to be looked up. */
const LOCAL_CONSUMERS = { hosts: () => true } as unknown as HandlerRegistry;
const NO_SINK = {} as DeadLetterSink;
/** The broker has no inbox that could forget a message, so dead letters of any age can be requeued. */
const NO_WINDOW = { replayWindowMs: Infinity } as RetentionPolicy;
const FORCE = true;

export class Administration {
  private readonly deadLetters: DeadLetters;

  constructor(
    private readonly work: UnitOfWork,
    relay: Relay,
  ) {
    this.deadLetters = new DeadLetters(work, relay, LOCAL_CONSUMERS, NO_SINK, NO_WINDOW);
  }

  /** @returns false for a request to any other path */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const reply = await this.replyTo(request);
    if (!reply) return false;
    const status = 'detail' in reply ? 404 : request.method === 'POST' ? 202 : 200;
    const text = JSON.stringify(reply);
    response
      .writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) })
      .end(text);
    return true;
  }

  private async replyTo(request: IncomingMessage): Promise<object | undefined> {
    const { pathname, searchParams } = new URL(`http://broker${request.url}`);
    const [, resource, segment, suffix] = PATH.exec(pathname) ?? [];
    const isReplay = suffix !== undefined || segment === 'replay';
    const id = segment === 'replay' ? undefined : segment;
    const { deadLetters } = this;
    switch (`${request.method} ${resource}${id ? '/id' : ''}${isReplay ? '/replay' : ''}`) {
      case 'GET outbox':
        return outboxStatistics(this.work.sql);
      case 'GET dead-letters':
        return this.list(searchParams);
      case 'GET dead-letters/id': {
        const letter = await deadLetters.find(id!);
        return letter ? legible(letter) : { detail: `There is no dead letter ${id}` };
      }
      case 'POST dead-letters/replay':
        return { replayed: await deadLetters.requeueAll(filterOf(searchParams), FORCE) };
      case 'POST dead-letters/id/replay':
        return { replayed: Number(await deadLetters.requeue(id!, FORCE)) };
      case 'DELETE dead-letters/id':
        return { discarded: Number(await deadLetters.discard(id!)) };
    }
    return undefined;
  }

  private async list(search: URLSearchParams): Promise<object> {
    const filter = filterOf(search);
    const total = await this.deadLetters.count(filter);
    if (search.get('by') === 'cause') return { total, causes: await this.deadLetters.causes(filter) };
    const page = Math.max(1, Math.trunc(Number(search.get('page') ?? 1)) || 1);
    const size = Math.min(100, Math.max(1, Math.trunc(Number(search.get('size') ?? 20)) || 20));
    const items = await this.deadLetters.list(filter, { limit: size, offset: (page - 1) * size });
    return { items: items.map(legible), page, size, total };
  }
}

function filterOf(search: URLSearchParams): DeadLetterFilter {
  const names = ['consumer', 'type', 'cause'].filter((name) => search.has(name));
  return Object.fromEntries(names.map((name) => [name, search.get(name)!]));
}

/** Attributes are stored as headers; people read them as UTF-8. */
function legible(letter: DeadLetter): object {
  const { data, ...attributes } = letter.event as unknown as Record<string, unknown>;
  const texts = Object.entries(attributes).map(([name, it]) => [name, typeof it === 'string' ? asText(it) : it]);
  return { ...letter, event: { ...(Object.fromEntries(texts) as object), data } };
}
