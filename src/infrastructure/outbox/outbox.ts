import { Inject, Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { fromWire, toCloudEvent } from '../cloudevents/mapping.js';
import { plainEvent } from '../cloudevents/plain-event.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { APPLICATION, Permissions } from '../contracts/permissions.js';
import { durableClass, type DurableMessage } from '../contracts/message.js';
import { requestContext } from '../observability/request-context.js';
import { ADDED } from '../observability/telemetry.js';
import { Database } from '../persistence/database.js';
import type { Sql } from '../persistence/sql.js';
import type { Epilogue, Unit } from '../persistence/unit.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { OUTBOX_COLUMNS, outboxValues } from '../store/outbox-rows.js';
import { Relay } from './relay.js';

/** A message of a unit of work, until its end. */
interface Staged {
  readonly event: CloudEvent;
  /** Whether it, or one of a neighbour in the transaction, is in the outbox, and not among the deliveries. */
  isInOutbox: boolean;
}

/**
 * Messages on their way out, written in the transaction of the state that they belong to: after the commit both are
 * there, or neither. The relay carries them on.
 */
@Injectable()
export class Outbox {
  /** The module that sends, for the outbox of a bus of a module. */
  private readonly module?: string;
  private readonly epilogue: Epilogue<Staged> = {
    store: (sql, staged) => this.store(sql, staged),
    committed: (staged) => this.committed(staged),
  };

  constructor(
    private readonly database: Database,
    private readonly work: UnitOfWork,
    private readonly registry: HandlerRegistry,
    private readonly permissions: Permissions,
    private readonly relay: Relay,
    @Inject(APPLICATION) private readonly application: string,
  ) {}

  /** The same outbox, for what a module sends. */
  of(module: string): Outbox {
    return Object.create(this, { module: { value: module } }) as Outbox;
  }

  /**
   * Adds a message to the open unit of work, which writes it when it commits. A `CloudEvent` of the SDK goes out as it is.
   * @throws Error outside a unit, and when the contract doesn't let the module send it, ZodError when the data doesn't match
   *   the contract, MalformedEvent for a bad attribute
   */
  add(message: DurableMessage | CloudEvent): void;
  /**
   * Adds a message to a transaction of TypeORM, of any data source on the database of the mesh: for code that opens and
   * commits its own. The relay is woken when TypeORM commits, and polls as a safety net. The manager of the open unit of work adds
   * to that unit.
   * @param options `from`: name of the sending module; by default the module that handles a message now, if the contract
   *   lets it send this one, else the owner of the message, if it may, else the first module that may
   * @throws Error when `manager` has no open transaction, and as above
   */
  add(manager: EntityManager, message: DurableMessage | CloudEvent, options?: { from?: string }): Promise<void>;
  add(
    first: DurableMessage | CloudEvent | EntityManager,
    message?: DurableMessage | CloudEvent,
    { from }: { from?: string } = {},
  ): void | Promise<void> {
    if (message === undefined) return this.stage(this.work.unit, this.eventOf(first as DurableMessage | CloudEvent));
    return this.insert(first as EntityManager, message, from);
  }

  private stage(unit: Unit, event: CloudEvent): void {
    ADDED.publish(event);
    unit.atEnd(this.epilogue, { event, isInOutbox: false });
  }

  private async store(sql: Sql, staged: readonly Staged[]): Promise<void> {
    const areInOutbox = await this.relay.store(
      sql,
      staged.map(({ event }) => event),
    );
    for (const it of staged) it.isInOutbox = areInOutbox;
  }

  private committed(staged: readonly Staged[]): void {
    this.relay.wakeConsumersOf(new Set(staged.map(({ event }) => event.type)));
    if (staged.some((it) => it.isInOutbox)) this.relay.wake();
  }

  private async insert(manager: EntityManager, message: DurableMessage | CloudEvent, from?: string): Promise<void> {
    const event = this.eventOf(message, from);
    if (!manager.queryRunner?.isTransactionActive)
      throw new Error('outbox.add() needs the entity manager of an open transaction');
    const unit = this.work.open;
    // In one order with the other messages of the unit.
    if (unit?.owns(manager.queryRunner)) return this.stage(unit, event);
    // TypeORM 0.3 has no `dataSource`; 1.x has both.
    const isPostgres = manager.connection.options.type === 'postgres';
    const parameters = OUTBOX_COLUMNS.map((_, index) => (isPostgres ? `$${index + 1}` : '?')).join(', ');
    // The manager may be of another data source on this database, with the schema of a tenant.
    const { schema } = this.database;
    const table = schema ? `"${schema.replaceAll('"', '""')}".mesh_outbox` : 'mesh_outbox';
    await manager.query(
      `INSERT INTO ${table} (${OUTBOX_COLUMNS.join(', ')}) VALUES (${parameters})`,
      outboxValues(event),
    );
    ADDED.publish(event);
    const { subscribers } = manager.connection;
    if (!subscribers.includes(this.subscriber)) subscribers.push(this.subscriber);
  }

  private readonly subscriber = { afterTransactionCommit: () => this.relay.wake() };

  private eventOf(message: DurableMessage | CloudEvent, from?: string): CloudEvent {
    if ('specversion' in message) return this.checked(plainEvent(message));
    const declaration = durableClass(message);
    const owner = this.registry.owner(declaration);
    if (!declaration || !owner)
      throw new Error(`${message.constructor.name} stands in no contract as a durable message`);
    const sender = from ?? this.module ?? this.permissions.senderOf(declaration, requestContext()?.module);
    this.permissions.assertAllows(declaration, sender);
    return toCloudEvent(message, declaration, this.application, sender);
  }

  /** @throws ZodError or Reject when the type stands in a contract, and the data or the source doesn't match it */
  private checked(event: CloudEvent): CloudEvent {
    const declaration = this.registry.message(event.type);
    if (!declaration) return event;
    this.permissions.assertAllowsSource(declaration, event.source);
    declaration.schema.parse(fromWire(event.data));
    return event;
  }
}
