import type { Sql } from '../persistence/sql.js';

/** What is on its way, in the words of `@nestjs/outbox`. */
export interface OutboxStatistics {
  /** Messages in the outbox plus deliveries that aren't done. */
  readonly pending: number;
  /** Those of them that can go now. */
  readonly ready: number;
  /** Deliveries that wait for a retry. */
  readonly retrying: number;
  readonly deadLetters: number;
  /** Age of the oldest that can go now, in ms. */
  readonly lagMs: number;
  /** Pending deliveries of each consumer that has any. */
  readonly consumers: Record<string, number>;
}

/** Counts what the mesh holds; without `FOR UPDATE`, so that nobody waits for the counting. */
export async function outboxStatistics(sql: Sql): Promise<OutboxStatistics> {
  const now = Date.now();
  const [outbox] = await sql.all<Counted>(`SELECT COUNT(*) AS n, MIN(created_at) AS oldest FROM mesh_outbox`);
  const deliveries = await sql.all<Counted & { consumer: string; retrying: unknown; waiting: unknown }>(
    `SELECT consumer, COUNT(*) AS n, SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END) AS retrying,
       SUM(CASE WHEN due_at > $1 THEN 1 ELSE 0 END) AS waiting,
       MIN(CASE WHEN due_at <= $1 THEN due_at END) AS oldest
     FROM mesh_delivery GROUP BY consumer`,
    [now],
  );
  const [dead] = await sql.all<Counted>(`SELECT COUNT(*) AS n FROM mesh_dead_letter`);
  const sum = (values: unknown[]) => values.reduce<number>((total, value) => total + Number(value), 0);
  const pending = Number(outbox!.n) + sum(deliveries.map(({ n }) => n));
  const oldest = [outbox!, ...deliveries].flatMap((it) => (it.oldest === null ? [] : [Number(it.oldest)]));
  return {
    pending,
    ready: pending - sum(deliveries.map(({ waiting }) => waiting)),
    retrying: sum(deliveries.map(({ retrying }) => retrying)),
    deadLetters: Number(dead!.n),
    lagMs: oldest.length > 0 ? Math.max(0, now - Math.min(...oldest)) : 0,
    consumers: Object.fromEntries(deliveries.map(({ consumer, n }) => [consumer, Number(n)])),
  };
}

interface Counted {
  readonly n: number | string;
  readonly oldest: number | null;
}
