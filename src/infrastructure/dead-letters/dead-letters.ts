import { Inject, Injectable } from '@nestjs/common';
import { Conflict } from '../contracts/domain-errors.js';
import type { SqlValue } from '../persistence/sql.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { DeadLetterSink } from '../broker/dead-letter-sink.js';
import { requeueDeadLetter, UNPUBLISHED, type DeadLetterRow } from '../store/dead-letter-rows.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Relay } from '../outbox/relay.js';
import { RETENTION_POLICY, type RetentionPolicy } from '../maintenance/retention.js';

/** A message that was given up: by which consumer, after how many tries, and why. */
export interface DeadLetter {
  readonly id: string;
  readonly consumer: string;
  readonly type: string;
  readonly subject: string | null;
  /** Tries that failed; 0 where only the broker knows. */
  readonly attempts: number;
  /** The same for all that failed alike. */
  readonly cause: string;
  readonly error: string;
  readonly deadAt: string;
  /** The address that a broker could not deliver it to. */
  readonly destination?: string;
  readonly event: CloudEvent;
}

/** Which dead letters; each field that is given must match exactly. */
export interface DeadLetterFilter {
  readonly consumer?: string;
  readonly type?: string;
  readonly cause?: string;
}

/** Dead letters that one unit of work brings back. */
const BATCH = 100;

/** The messages that were given up, kept until somebody replays or discards them, or their retention is over. */
@Injectable()
export class DeadLetters {
  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly registry: HandlerRegistry,
    private readonly sink: DeadLetterSink,
    @Inject(RETENTION_POLICY) private readonly policy: RetentionPolicy,
  ) {}

  /** The latest first. */
  async list(filter: DeadLetterFilter, page: { limit: number; offset: number }): Promise<DeadLetter[]> {
    const { where, parameters } = conditions(filter);
    const rows = await this.work.sql.all<DeadLetterRow>(
      `SELECT * FROM mesh_dead_letter ${where} ORDER BY dead_at DESC, id LIMIT ${page.limit} OFFSET ${page.offset}`,
      parameters,
    );
    return rows.map(deadLetter);
  }

  async count(filter: DeadLetterFilter): Promise<number> {
    const { where, parameters } = conditions(filter);
    const [row] = await this.work.sql.all<{ n: number | string }>(
      `SELECT COUNT(*) AS n FROM mesh_dead_letter ${where}`,
      parameters,
    );
    return Number(row!.n);
  }

  /** How many died of what, the most frequent cause first. */
  async causes(filter: DeadLetterFilter): Promise<object[]> {
    const { where, parameters } = conditions(filter);
    const rows = await this.work.sql.all<Record<string, string | number>>(
      `SELECT consumer, type, cause, COUNT(*) AS n, MIN(dead_at) AS first, MAX(dead_at) AS last FROM mesh_dead_letter
       ${where} GROUP BY consumer, type, cause ORDER BY n DESC LIMIT 100`,
      parameters,
    );
    return rows.map(({ consumer, type, cause, n, first, last }) => ({
      ...{ consumer, type, cause, count: Number(n) },
      ...{ firstAt: new Date(Number(first)).toISOString(), lastAt: new Date(Number(last)).toISOString() },
    }));
  }

  async find(id: string): Promise<DeadLetter | undefined> {
    const [row] = await this.work.sql.all<DeadLetterRow>(`SELECT * FROM mesh_dead_letter WHERE id = $1`, [id]);
    return row && deadLetter(row);
  }

  /**
   * Gives one back to the consumer that failed, with the id that it always had.
   * @param force also when it died so long ago that an inbox may have forgotten it
   * @returns false when there is none
   * @throws Conflict when it is too old
   */
  async requeue(id: string, force: boolean): Promise<boolean> {
    const letter = await this.find(id);
    if (!letter) return false;
    if (!force && Date.parse(letter.deadAt) < this.oldest()) {
      throw new Conflict(
        'It died before the replay window, and inboxes may have forgotten it: ' +
          'if its consumer is idempotent by a key of its own, replay it with force=true',
      );
    }
    return (await this.requeueBatch(`WHERE id = $1`, [id])).length > 0;
  }

  /** Gives all that match back to the consumers that failed, but for the too old ones. @returns how many */
  async requeueAll(filter: DeadLetterFilter, force: boolean): Promise<number> {
    const { where, parameters } = conditions(filter);
    // Only those that are dead now: one that fails again meanwhile waits for the next replay.
    const between = `dead_at BETWEEN ${force ? 0 : this.oldest()} AND ${Date.now()}`;
    const also = where ? `${where} AND ${between}` : `WHERE ${between}`;
    for (let replayed = 0; ;) {
      const rows = await this.requeueBatch(also, parameters);
      replayed += rows.length;
      if (rows.length < BATCH) return replayed;
    }
  }

  private oldest(): number {
    return Date.now() - this.policy.replayWindowMs;
  }

  /** @returns false when there is none */
  async discard(id: string): Promise<boolean> {
    return this.work.run(async () => {
      return (await this.work.sql.run(`DELETE FROM mesh_dead_letter WHERE id = $1`, [id])) > 0;
    });
  }

  private async requeueBatch(where: string, parameters: SqlValue[]): Promise<DeadLetterRow[]> {
    const consumers = new Set<string>();
    const rows = await this.work.run(async () => {
      const { sql } = this.work;
      const found = await sql.all<DeadLetterRow>(
        `SELECT * FROM mesh_dead_letter ${where} ORDER BY dead_at, id LIMIT ${BATCH}`,
        parameters,
      );
      for (const row of found) {
        const consumer = await requeueDeadLetter(sql, row, this.addressOf(row));
        if (consumer) consumers.add(consumer);
      }
      return found;
    });
    for (const consumer of consumers) this.relay.wakeConsumer(consumer);
    this.relay.wake();
    return rows;
  }

  /** Where a consumer lives that isn't in this process. @throws Conflict when nobody knows */
  private addressOf({ consumer, destination }: DeadLetterRow): string | undefined {
    if (destination === null && (consumer === UNPUBLISHED || this.registry.hosts(consumer))) return undefined;
    const address = this.sink.addressOf(consumer, destination);
    if (address) return address;
    throw new Conflict(`Nobody knows where ${consumer} lives: set USVC_${consumer.toUpperCase()} and replay it then`);
  }
}

function conditions(filter: DeadLetterFilter): { where: string; parameters: SqlValue[] } {
  const given = (['consumer', 'type', 'cause'] as const).filter((column) => filter[column] !== undefined);
  return {
    where: given.length > 0 ? `WHERE ${given.map((column, index) => `${column} = $${index + 1}`).join(' AND ')}` : '',
    parameters: given.map((column) => filter[column]!),
  };
}

function deadLetter({ dead_at, event, ...row }: DeadLetterRow): DeadLetter {
  const { id, consumer, type, subject, attempts, cause, error, destination } = row;
  const deadAt = new Date(dead_at).toISOString();
  const place = destination === null ? {} : { destination };
  return {
    id,
    consumer,
    type,
    subject,
    attempts,
    cause,
    error,
    deadAt,
    ...place,
    event: JSON.parse(event) as CloudEvent,
  };
}
