import { Command, Query } from '@nestjs/cqrs';
import type { z } from 'zod';
import type { DeliveryPolicy } from './retry-policy.js';

/**
 * Contracts declare messages:
 *
 *     export class ShipOrder extends durableCommand('shop.shipping.ship-order', z.object({ parcels: z.int() })) {}
 *     export class OrderShipped extends durableEvent('shop.shipping.order-shipped', z.object({ carrier: z.string() })) {}
 *     export class ReadStock extends query('read-stock', z.object({ item: z.string() }), z.object({ left: z.int() })) {}
 *
 * Only the module of the contract may send a message or ask a query, unless the contract names others:
 * `durableCommand(type, schema, { sentBy: ['orders'] })`, `query(name, schema, result, { askedBy: ['orders'] })`.
 * A command or event has data and a subject of at most 1000 bytes, which is also its partition key. The fields of the data
 * are in camel case in code and in kebab case on the wire.
 */
export interface DurableMessage {
  readonly subject: string;
  readonly data: object;
}

/** Who may send a message: names of modules, and the `source` of other systems. Only the module of the contract by default. */
export interface Senders {
  readonly sentBy?: readonly string[];
}

/** Which modules may ask a query. Only the module of the contract by default. */
export interface Askers {
  readonly askedBy?: readonly string[];
}

/** What a contract says of a message. */
export interface Declaration<Kind> extends Senders {
  readonly kind: Kind;
  /** The CloudEvents type. */
  readonly type: string;
  /** The schema of the data, in camel case. */
  readonly schema: z.ZodObject;
  /** The schema for sending, which allows no other fields. Made once, because zod compiles every schema anew. */
  readonly strict: z.ZodObject;
}

export type CommandClass = Declaration<'command'> & (new (subject: string, data: never) => DurableMessage);
export type EventClass = Declaration<'event'> & (new (subject: string, data: never) => DurableMessage);
export type MessageClass = CommandClass | EventClass;
export interface QueryClass extends Askers {
  new (data: never): object;
  readonly kind: 'query';
  readonly queryName: string;
  readonly schema: z.ZodType;
  readonly result: z.ZodType;
}

/* The classes that contracts extend. They have names, so that hosts can emit declarations of their own contracts. */

/** Made by `durableCommand()`. */
export interface DurableCommandClass<Schema extends z.ZodObject> extends Declaration<'command'> {
  new (subject: string, data: z.infer<Schema>): Command<void> & MessageOf<Schema>;
  readonly schema: Schema;
}

/** Made by `durableEvent()`. */
export interface DurableEventClass<Schema extends z.ZodObject> extends Declaration<'event'> {
  new (subject: string, data: z.infer<Schema>): MessageOf<Schema>;
  readonly schema: Schema;
}

/** Made by `query()`. */
export interface ModuleQueryClass<Schema extends z.ZodType, Result extends z.ZodType> extends Askers {
  new (data: z.infer<Schema>): Query<z.infer<Result>> & { readonly data: z.infer<Schema> };
  readonly kind: 'query';
  readonly queryName: string;
  readonly schema: Schema;
  readonly result: Result;
}

/** A message whose data has a schema. */
export interface MessageOf<Schema extends z.ZodObject> {
  readonly subject: string;
  readonly data: z.infer<Schema>;
}

/** Declares a command, which asks one module to do something: asynchronous, durable, nothing returned. */
export function durableCommand<Schema extends z.ZodObject>(
  type: string,
  schema: Schema,
  { sentBy }: Senders = {},
): DurableCommandClass<Schema> {
  return class DurableCommand extends Command<void> {
    static readonly kind = 'command';
    static readonly type = type;
    static readonly sentBy = sentBy;
    static readonly schema = schema;
    static readonly strict = schema.strict();

    constructor(
      readonly subject: string,
      readonly data: z.infer<Schema>,
    ) {
      super();
    }
  };
}

/** Declares an event, which tells any number of modules what happened: durable, each module retries on its own. */
export function durableEvent<Schema extends z.ZodObject>(
  type: string,
  schema: Schema,
  { sentBy }: Senders = {},
): DurableEventClass<Schema> {
  return class DurableEvent {
    static readonly kind = 'event';
    static readonly type = type;
    static readonly sentBy = sentBy;
    static readonly schema = schema;
    static readonly strict = schema.strict();

    constructor(
      readonly subject: string,
      readonly data: z.infer<Schema>,
    ) {}
  };
}

/** Declares a query, which asks one module for data: synchronous, without side effects, safe to repeat. */
export function query<Schema extends z.ZodType, Result extends z.ZodType>(
  name: string,
  schema: Schema,
  result: Result,
  { askedBy }: Askers = {},
): ModuleQueryClass<Schema, Result> {
  return class ModuleQuery extends Query<z.infer<Result>> {
    static readonly kind = 'query';
    static readonly queryName = name;
    static readonly schema = schema;
    static readonly result = result;
    static readonly askedBy = askedBy;

    constructor(readonly data: z.infer<Schema>) {
      super();
    }
  };
}

/** Handles a durable command, in the unit of work that records it in the inbox. */
export interface DurableCommandHandler<Message, Prepared = void> {
  /** Runs before the unit and may wait for queries and I/O. It is repeated: it must have no effects, nor change its message. */
  prepare?(message: Message): Promise<Prepared>;
  execute(message: Message, prepared: Prepared): Promise<void>;
}

/** Handles a durable event, in the unit of work that records it in the inbox. */
export interface DurableEventHandler<Message, Prepared = void> {
  /** Runs before the unit and may wait for queries and I/O. It is repeated: it must have no effects, nor change its message. */
  prepare?(message: Message): Promise<Prepared>;
  handle(message: Message, prepared: Prepared): Promise<void>;
}

/**
 * Does what no rollback takes back: sends a mail, takes a payment, calls another system. `perform()` runs after the commit of
 * the transaction that recorded the message, outside of any transaction, and is repeated until it succeeds once. The class may
 * have `execute()` or `handle()` besides, which then runs in that transaction.
 */
export interface EffectHandler<Message> {
  /** What differs from the delivery policy of the application. */
  readonly policy?: Partial<EffectPolicy>;
  /** @throws Reject when no retry can help; any other error is worth a retry, after its `retryAfterMs` if it has that */
  perform(message: Message, attempt: Attempt): Promise<void>;
}

export interface EffectPolicy extends DeliveryPolicy {
  /** Attempts at a time in one process; 16 by default. */
  readonly concurrency: number;
}

/** One attempt to perform an effect. An attempt is counted before it begins, so that one that ends the process counts, too. */
export interface Attempt {
  /** The id of the message, equal in all attempts: the idempotency key for the other system. */
  readonly id: string;
  /** 1 for the first. */
  readonly number: number;
  /** Aborts when the attempt has taken `policy.timeoutMs`. */
  readonly signal: AbortSignal;
}

/** Thrown by a handler when no retry can help: the message goes to the dead letters at once. */
export class Reject extends Error {
  override readonly name: string = 'Reject';
}

/** The modules, and `source`s of other systems, that may send a message or ask a query of the module `owner`. */
export function permittedSenders(declaration: MessageClass | QueryClass, owner: string): readonly string[] {
  return (declaration.kind === 'query' ? declaration.askedBy : declaration.sentBy) ?? [owner];
}

/** The class of a message if it is durable. */
export function durableClass(message: object): MessageClass | undefined {
  const candidate = message.constructor as Partial<MessageClass>;
  return candidate.kind === 'command' || candidate.kind === 'event' ? (candidate as MessageClass) : undefined;
}
