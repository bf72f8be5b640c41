import type { IncomingMessage, ServerResponse } from 'node:http';
import { deadLetter, deadLetterCause, listedDeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import type { ValidationFailed } from '../../src/infrastructure/contracts/domain-errors.js';
import { assertKnown } from '../../src/infrastructure/http/strict-request.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import {
  countDeadLetters,
  deleteDeadLetter,
  findDeadLetter,
  groupDeadLetters,
  listDeadLetters,
  oldestDeadLetters,
  requeueDeadLetter,
  type DeadLetterFilter,
  type DeadLetterHead,
  type DeadLetterRow,
} from '../../src/infrastructure/store/dead-letter-rows.js';
import { outboxStatistics, type OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { asText } from './stored-event.js';

/*
 * The administration of the laptop broker, under the paths of the application, so that
 * `npm run mesh:dead-letters -- list --url http://localhost:8090` works on the broker, too.
 */

const PATH = /^\/mesh\/(outbox|dead-letters)(?:\/([\w-]+))?(\/replay)?$/;

/** Last page of a listing: SQLite takes no larger offset than a 64-bit integer. */
const MAX_PAGE = 9_999_999;
const FILTER = ['consumer', 'type', 'cause'];
/** The routes and their query parameters: those of the application, whose commands work on the broker, too. */
const PARAMETERS = new Map<string, readonly string[]>([
  ['GET outbox', []],
  ['GET dead-letters', [...FILTER, 'by', 'page', 'size']],
  ['GET dead-letters/id', []],
  ['POST dead-letters/replay', [...FILTER, 'force']],
  ['POST dead-letters/id/replay', ['force']],
  ['DELETE dead-letters/id', []],
]);

/** Dead letters that one unit of work requeues. */
const BATCH = 100;

export class Administration {
  constructor(
    private readonly work: UnitOfWork,
    /** Deliveries in memory: those of the synchronous channel, and those that wait for a retry. */
    private readonly inMemory: () => { readonly open: number; readonly retrying: number },
    /** To be called when messages are requeued. */
    private readonly wake: () => void,
  ) {}

  /** @returns false for a request to any other path */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const reply = await this.replyTo(request);
    if (!reply) return false;
    const status = 'errors' in reply ? 400 : 'detail' in reply ? 404 : request.method === 'POST' ? 202 : 200;
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
    const { sql } = this.work;
    const route = `${request.method} ${resource}${id ? '/id' : ''}${isReplay ? '/replay' : ''}`;
    const refusal = refusalOf(request, PARAMETERS.get(route));
    if (refusal) return refusal;
    switch (route) {
      case 'GET outbox':
        return this.statistics();
      case 'GET dead-letters':
        return this.list(searchParams);
      case 'GET dead-letters/id': {
        const row = await findDeadLetter(sql, id!);
        return row ? legible(row) : { detail: `There is no dead letter ${id}` };
      }
      case 'POST dead-letters/replay':
        return { replayed: await this.requeueAll(filterOf(searchParams)) };
      case 'POST dead-letters/id/replay':
        return { replayed: await this.requeue(async () => [await findDeadLetter(this.work.sql, id!)]) };
      case 'DELETE dead-letters/id':
        return { discarded: Number(await this.work.run(() => deleteDeadLetter(this.work.sql, id!))) };
    }
    return undefined;
  }

  private async statistics(): Promise<OutboxStatistics> {
    const stored = await outboxStatistics(this.work.sql);
    const { open, retrying } = this.inMemory();
    const pending = stored.pending + open;
    return { ...stored, pending, retrying, ready: pending - retrying };
  }

  private async list(search: URLSearchParams): Promise<object> {
    const { sql } = this.work;
    const filter = filterOf(search);
    const total = await countDeadLetters(sql, filter);
    if (search.get('by') === 'cause')
      return { total, causes: (await groupDeadLetters(sql, filter)).map(deadLetterCause) };
    const page = Math.min(MAX_PAGE, Math.max(1, Math.trunc(Number(search.get('page') ?? 1)) || 1));
    const size = Math.min(100, Math.max(1, Math.trunc(Number(search.get('size') ?? 20)) || 20));
    const rows = await listDeadLetters(sql, filter, { limit: size, offset: (page - 1) * size });
    return { items: rows.map(listedDeadLetter), page, size, total };
  }

  /** Requeues all that are dead now. The broker has no inbox that could forget a message, so any age will do. */
  private async requeueAll(filter: DeadLetterFilter): Promise<number> {
    const between = { from: 0, until: Date.now() };
    for (let total = 0; ;) {
      const requeued = await this.requeue(() => oldestDeadLetters(this.work.sql, filter, between, BATCH));
      total += requeued;
      if (requeued < BATCH) return total;
    }
  }

  private async requeue(find: () => Promise<(DeadLetterHead | undefined)[]>): Promise<number> {
    const count = await this.work.run(async () => {
      const rows = (await find()).filter((row) => row !== undefined);
      for (const row of rows) await requeueDeadLetter(this.work.sql, row.id, [row.consumer]);
      return rows.length;
    });
    this.wake();
    return count;
  }
}

/** The answer 400 to a request with an unknown parameter, or with a body. */
function refusalOf(request: IncomingMessage, known: readonly string[] | undefined): object | undefined {
  if (!known) return undefined;
  try {
    assertKnown(request, /\?(.*)/s.exec(request.url ?? '')?.[1] ?? '', known);
    return undefined;
  } catch (error) {
    const { message, issues } = error as ValidationFailed;
    return { type: 'about:blank', title: 'Malformed request', status: 400, detail: message, errors: issues };
  }
}

function filterOf(search: URLSearchParams): DeadLetterFilter {
  const names = FILTER.filter((name) => search.has(name));
  return Object.fromEntries(names.map((name) => [name, search.get(name)!]));
}

/** Attributes are stored as headers; people read them as UTF-8. */
function legible(row: DeadLetterRow): object {
  const letter = deadLetter(row);
  const { data, ...attributes } = letter.event as unknown as Record<string, unknown>;
  const texts = Object.entries(attributes).map(([name, it]) => [name, typeof it === 'string' ? asText(it) : it]);
  return { ...letter, event: { ...(Object.fromEntries(texts) as object), data } };
}
