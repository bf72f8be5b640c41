import type { Sql } from '../persistence/sql.js';

/** Pending messages, in the terms of `@nestjs/outbox`. */
export interface OutboxStatistics {
  /** Messages in the outbox plus deliveries that aren't handled yet. */
  readonly pending: number;
  /** Pending messages that don't wait for a retry. */
  readonly ready: number;
  /** Deliveries that wait for a retry. */
  readonly retrying: number;
  readonly deadLetters: number;
  /** Age of the oldest ready message, in ms. */
  readonly lagMs: number;
  /** Pending deliveries of each consumer that has any. */
  readonly consumers: Record<string, number>;
}

/** Counts all messages in one statement: between two, a message could move from one table to another uncounted. */
export async function outboxStatistics(sql: Sql): Promise<OutboxStatistics> {
  const now = Date.now();
  const rows = await sql.all<Counted>(
    `SELECT 'outbox' AS source, '' AS consumer, COUNT(*) AS n, 0 AS retrying, 0 AS waiting, MIN(created_at) AS oldest
     FROM mesh_outbox
     UNION ALL
     SELECT 'delivery', consumer, COUNT(*), SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END),
       SUM(CASE WHEN due_at > $1 THEN 1 ELSE 0 END), MIN(CASE WHEN due_at <= $1 THEN due_at END)
     FROM mesh_delivery GROUP BY consumer
     UNION ALL
     SELECT 'dead', '', COUNT(*), 0, 0, NULL FROM mesh_dead_letter`,
    [now],
  );
  const deliveries = rows.filter(({ source }) => source === 'delivery');
  const alive = rows.filter(({ source }) => source !== 'dead');
  const sum = (of: Counted[], what: 'n' | 'retrying' | 'waiting') =>
    of.reduce((total, it) => total + Number(it[what]), 0);
  const oldest = Math.min(...alive.map((it) => it.oldest ?? now));
  return {
    pending: sum(alive, 'n'),
    ready: sum(alive, 'n') - sum(alive, 'waiting'),
    retrying: sum(alive, 'retrying'),
    deadLetters: sum(
      rows.filter(({ source }) => source === 'dead'),
      'n',
    ),
    lagMs: Math.max(0, now - oldest),
    consumers: Object.fromEntries(deliveries.map(({ consumer, n }) => [consumer, Number(n)])),
  };
}

interface Counted {
  readonly source: 'outbox' | 'delivery' | 'dead';
  readonly consumer: string;
  readonly n: number | string;
  readonly retrying: number | string;
  readonly waiting: number | string;
  readonly oldest: number | null;
}
