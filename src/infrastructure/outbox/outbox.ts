import { Inject, Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { requestContext } from '../observability/request-context.js';
import type { Sql } from '../persistence/sql.js';
import type { Unit } from '../persistence/unit.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { toCloudEvent, type CloudEvent } from '../cloudevents/cloud-event.js';
import { durableClass, type DurableMessage } from '../contracts/message.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';

/** The name of the application in sources and schemas. */
export const APPLICATION = Symbol('APPLICATION');

/**
 * Messages on their way out, in the same transaction as the state they belong to: both are there after the commit, or
 * neither. The relay takes them from there.
 */
@Injectable()
export class Outbox {
  private readonly staged = new WeakMap<Unit, CloudEvent[]>();
  private readonly stagedListeners: (() => void)[] = [];
  private readonly listeners: (() => void)[] = [];

  constructor(
    private readonly work: UnitOfWork,
    private readonly registry: HandlerRegistry,
    @Inject(APPLICATION) private readonly application: string,
  ) {}

  /** Calls back before each commit that will leave messages here. */
  onStaged(listener: () => void): void {
    this.stagedListeners.push(listener);
  }

  /** Calls back after each commit that left messages here. */
  onCommitted(listener: () => void): void {
    this.listeners.push(listener);
  }

  /**
   * Adds a message to the open unit of work; written when that commits.
   * @throws Error outside a unit, ZodError when the data isn't what the contract says
   */
  stage(message: DurableMessage): void {
    const { unit } = this.work;
    const event = this.seal(message);
    const staged = this.staged.get(unit);
    if (staged) {
      staged.push(event);
      return;
    }
    const events = [event];
    this.staged.set(unit, events);
    unit.beforeCommit(async () => {
      // What comes from now on, from another hook for one, is written by a hook of its own.
      this.staged.delete(unit);
      await insertIntoOutbox(unit.sql, events);
      for (const listener of this.stagedListeners) listener();
    });
    unit.afterCommit(() => this.wake());
  }

  /**
   * Adds a message to a transaction that somebody else opened, and commits: for code that has transactions of its own.
   * The relay hears of it when TypeORM commits, at the latest when it polls next.
   * @param from name of the sending module; the one whose code runs, or in whose contract the message stands, unless told
   * @throws Error when `manager` is in no transaction, ZodError when the data isn't what the contract says
   */
  async add(manager: EntityManager, message: DurableMessage, { from }: { from?: string } = {}): Promise<void> {
    const runner = manager.queryRunner;
    if (!runner?.isTransactionActive) throw new Error('outbox.add() needs the entity manager of an open transaction');
    const event = this.seal(message, from);
    const isPostgres = manager.dataSource.options.type === 'postgres';
    const places = COLUMNS.map((_, index) => (isPostgres ? `$${index + 1}` : '?')).join(', ');
    await manager.query(`INSERT INTO mesh_outbox (${COLUMNS.join(', ')}) VALUES (${places})`, row(event));
    const unit = this.work.open;
    // The commit of a unit of ours is no event of TypeORM's.
    if (unit?.manager === manager) return unit.afterCommit(() => this.wake());
    const { subscribers } = manager.dataSource;
    if (!subscribers.includes(this.subscriber)) subscribers.push(this.subscriber);
  }

  private readonly subscriber = { afterTransactionCommit: () => this.wake() };

  private seal(message: DurableMessage, from?: string): CloudEvent {
    const declaration = durableClass(message);
    const owner = this.registry.owner(declaration);
    if (!declaration || !owner)
      throw new Error(`${message.constructor.name} stands in no contract as a durable message`);
    const sender = from ?? requestContext()?.module ?? owner;
    if (declaration.kind === 'event' && sender !== owner) {
      throw new Error(`${declaration.type} is an event of ${owner}; ${sender} can't say that it happened`);
    }
    return toCloudEvent(message, declaration, this.application, sender);
  }

  private wake(): void {
    for (const listener of this.listeners) listener();
  }
}

const COLUMNS = ['id', 'source', 'type', 'partition_key', 'event', 'created_at'];

const INSERT = `INSERT INTO mesh_outbox (${COLUMNS.join(', ')}) VALUES ($1, $2, $3, $4, $5, $6)`;

function row(event: CloudEvent) {
  const key = event.partitionkey ?? event.subject ?? event.id;
  return [event.id, event.source, event.type, key, JSON.stringify(event), Date.now()];
}

/** Writes events into the outbox, in their order. */
export async function insertIntoOutbox(sql: Sql, events: readonly CloudEvent[]): Promise<void> {
  if (sql.dialect === 'sqlite') {
    for (const event of events) await sql.run(INSERT, row(event));
    return;
  }
  // One round trip for all of them.
  await sql.run(
    `INSERT INTO mesh_outbox (${COLUMNS.join(', ')})
     SELECT it->>0, it->>1, it->>2, it->>3, it->>4, (it->>5)::double precision
     FROM json_array_elements($1::json) WITH ORDINALITY AS them(it, place) ORDER BY place`,
    [JSON.stringify(events.map(row))],
  );
}
