import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { NotFound } from '../contracts/domain-errors.js';
import { moment, paging, queryText } from '../contracts/schemas.js';
import { Journal } from '../delivery/journal.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { listJournalRows, type JournalRow } from '../store/journal-rows.js';

const listing = paging.extend({
  correlationId: queryText(1000).optional(),
  subject: queryText(1000).optional(),
  type: queryText(300).optional(),
  since: moment.optional(),
});

/** What became of a message at one consumer. Times in UTC, ISO 8601. */
export interface JournalEntry {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string | null;
  readonly consumer: string;
  /** The id of the message that caused this one; null at the beginning. */
  readonly causationId: string | null;
  readonly correlationId: string;
  readonly createdAt: string;
  readonly handledAt: string;
  /** 0 where a broker makes the attempts. */
  readonly attempts: number;
  readonly outcome: JournalRow['outcome'];
}

@Injectable()
export class JournalRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(
    private readonly work: UnitOfWork,
    private readonly journal: Journal,
    guard: AdministrationGuard,
  ) {
    const list = meshRoute({
      method: 'GET',
      path: '/mesh/journal',
      summary: 'What became of each message at each consumer, the latest first',
      guard,
      query: listing,
      handle: ({ query }) => this.list(query),
    });
    this.routes = [list];
  }

  private async list({ page, size, since, ...which }: z.infer<typeof listing>): Promise<object> {
    if (!this.journal.isOn)
      throw new NotFound('The journal is off: set the option retention.journalMs to how long it is to be kept');
    const filter = { ...which, ...(since && { since: Date.parse(since) }) };
    const rows = await listJournalRows(this.work.sql, filter, { limit: size, offset: (page - 1) * size });
    return { items: rows.map(journalEntry), page, size };
  }
}

function journalEntry(row: JournalRow): JournalEntry {
  const { causation_id, correlation_id, created_at, handled_at, id, source, type, subject, consumer, ...rest } = row;
  return {
    id,
    source,
    type,
    subject,
    consumer,
    causationId: causation_id,
    correlationId: correlation_id,
    createdAt: new Date(created_at).toISOString(),
    handledAt: new Date(handled_at).toISOString(),
    ...rest,
  };
}
