import { MAX_TOTAL } from '../../src/infrastructure/contracts/schemas.js';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { deadLetter, deadLetterCause, listedDeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import { ValidationFailed } from '../../src/infrastructure/contracts/domain-errors.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import {
  countDeadLetters,
  findDeadLetter,
  groupDeadLetters,
  listDeadLetters,
  oldestDeadLetters,
  type DeadLetterFilter,
} from '../../src/infrastructure/store/dead-letter-queries.js';
import {
  deleteDeadLetter,
  requeueDeadLetter,
  type DeadLetterHead,
  type DeadLetterRow,
} from '../../src/infrastructure/store/dead-letter-rows.js';
import { outboxStatistics, type OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { administrationRequest, type AdministrationRequest, type Listing } from './administration-requests.js';
import { asText } from './stored-event.js';

/*
 * The administration of the laptop broker, under the paths of the application, so that
 * `npm run mesh:dead-letters -- list --url http://localhost:8090` works on the broker, too.
 */

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
    try {
      return await this.handle(await administrationRequest(request));
    } catch (error) {
      if (!(error instanceof ValidationFailed)) throw error;
      const { message, issues } = error;
      return { type: 'about:blank', title: 'Malformed request', status: 400, detail: message, errors: issues };
    }
  }

  private async handle(request: AdministrationRequest | undefined): Promise<object | undefined> {
    switch (request?.route) {
      case 'GET outbox':
        return this.statistics();
      case 'GET dead-letters':
        return this.list(request.query);
      case 'GET dead-letters/id': {
        const row = await findDeadLetter(this.work.sql, request.id);
        return row ? legible(row) : missing(request.id);
      }
      case 'POST dead-letters/replay':
        return { replayed: await this.requeueAll(request.query) };
      case 'POST dead-letters/id/replay': {
        const replayed = await this.requeue(async () => [await findDeadLetter(this.work.sql, request.id)]);
        return replayed > 0 ? { replayed } : missing(request.id);
      }
      case 'DELETE dead-letters/id': {
        const isDiscarded = await this.work.run(() => deleteDeadLetter(this.work.sql, request.id));
        return isDiscarded ? { discarded: 1 } : missing(request.id);
      }
    }
    return undefined;
  }

  private async statistics(): Promise<OutboxStatistics> {
    const stored = await outboxStatistics(this.work.sql);
    const { open, retrying } = this.inMemory();
    const pending = stored.pending + open;
    return { ...stored, pending, retrying, ready: pending - retrying };
  }

  private async list({ by, page, size, ...filter }: Listing): Promise<object> {
    const { sql } = this.work;
    const total = await countDeadLetters(sql, filter, { max: MAX_TOTAL });
    if (by) return { total, causes: (await groupDeadLetters(sql, filter, MAX_TOTAL)).map(deadLetterCause) };
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

function missing(id: string): object {
  return { detail: `There is no dead letter ${id}` };
}

/** Attributes are stored as headers; people read them as UTF-8. */
function legible(row: DeadLetterRow): object {
  const letter = deadLetter(row);
  const { data, ...attributes } = letter.event as unknown as Record<string, unknown>;
  const texts = Object.entries(attributes).map(([name, it]) => [name, typeof it === 'string' ? asText(it) : it]);
  return { ...letter, event: { ...(Object.fromEntries(texts) as object), data } };
}
