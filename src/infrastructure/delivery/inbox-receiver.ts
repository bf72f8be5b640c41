import { Inject, Injectable } from '@nestjs/common';
import { runInContext, continueTrace } from '../observability/request-context.js';
import { isDataException } from '../persistence/sql.js';
import type { BatchPrelude } from '../persistence/unit.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { fromWire, type CloudEvent } from '../cloudevents/cloud-event.js';
import { isShort, MAX_NAME_BYTES } from '../cloudevents/attributes.js';
import type { Consumer } from './delivery-worker.js';
import type { Delivery } from '../store/delivery-rows.js';
import { recordInInbox, type IncomingMessage, type InboxOutcome } from '../store/inbox-rows.js';
import { Reject, type DurableMessage, type MessageClass } from '../contracts/message.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import type { DeliveryPolicy } from './retry-policy.js';

/** How deliveries are tried, and how long the mesh remembers. */
export const DELIVERY_POLICY = Symbol('DELIVERY_POLICY');

/**
 * Hands one event to one consumer, exactly once as far as its effects go: the inbox record, the consumer's state and
 * what it sends are one unit of work. Every transport ends here.
 */
@Injectable()
export class InboxReceiver {
  private readonly preludes = new Map<string, BatchPrelude<IncomingMessage, InboxOutcome>>();

  constructor(
    private readonly work: UnitOfWork,
    private readonly registry: HandlerRegistry,
    @Inject(DELIVERY_POLICY) private readonly policy: DeliveryPolicy,
  ) {}

  /** The modules of this process, as consumers of deliveries. */
  get consumers(): Consumer[] {
    return this.registry.consumers.map((name) => ({
      name,
      policy: this.policy,
      deliver: (delivery) => this.receive(name, delivery.event, delivery),
    }));
  }

  /**
   * @param delivery that brought it, taken off in the same unit of work
   * @returns whether it was handled now, had been before, or is somebody else's
   * @throws Reject when this event can never succeed here; any other error is worth a retry. Nothing was kept then.
   */
  async receive(
    consumer: string,
    event: CloudEvent,
    delivery?: Delivery,
  ): Promise<'handled' | 'duplicate' | 'lease-lost'> {
    const subscription = this.registry.subscription(consumer, event.type);
    if (!subscription) throw new Reject(`${consumer} has no handler for ${event.type}`);
    // An event is recognised by the one, and handlers make keys of the other.
    if (!isShort(event.source, event.id)) {
      throw new Reject(`source and id together are longer than ${MAX_NAME_BYTES} bytes`);
    }
    if (!isShort(event.subject ?? '')) throw new Reject(`subject is longer than ${MAX_NAME_BYTES} bytes`);
    const message = parseMessage(event, subscription.message);
    // Nothing but the log hangs on a correlation id: one that is too long to pass on is ignored.
    const { id, correlationid = id } = event;
    const journey = {
      correlationId: isShort(correlationid) ? correlationid : id,
      causationId: event.id,
      traceparent: continueTrace(event.traceparent),
      module: consumer,
    };
    const preparing = runInContext(journey, () => subscription.prepare(message));
    const prepared = preparing && (await this.withinTimeout(preparing));
    const arrival = { consumer, event, ...(delivery && { delivery }) };
    const handle = async (word: InboxOutcome) => {
      if (word !== 'new') return word;
      await subscription.handle(message, prepared);
      return 'handled';
    };
    try {
      return await runInContext(journey, () => this.work.runInBatch(this.preludeOf(consumer), arrival, handle));
    } catch (error) {
      if (!isDataException(error)) throw error;
      // A value that its contract should not have let through.
      throw new Reject(`${event.type} holds what ${consumer} can't keep`, { cause: error });
    }
  }

  /** The first statement of every unit of work in which this consumer handles a message. */
  private preludeOf(consumer: string): BatchPrelude<IncomingMessage, InboxOutcome> {
    const known = this.preludes.get(consumer);
    if (known) return known;
    const prelude = { batchKey: consumer, load: recordInInbox };
    this.preludes.set(consumer, prelude);
    return prelude;
  }

  private async withinTimeout<T>(preparing: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      const late = () => reject(new Error(`prepare() took more than ${this.policy.timeoutMs} ms`));
      timer = setTimeout(late, this.policy.timeoutMs);
    });
    try {
      return await Promise.race([preparing, limit]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * The message that an event carries. Unknown fields are left out: contracts grow.
 * @throws Reject when the data isn't what the contract says
 */
function parseMessage(event: CloudEvent, declaration: MessageClass): DurableMessage {
  if (!event.subject) throw new Reject(`${event.type} needs a subject`);
  const data = declaration.schema.safeParse(fromWire(event.data));
  if (!data.success) {
    const issues = data.error.issues.map(({ path, message }) => `${path.join('.') || 'data'}: ${message}`);
    throw new Reject(`${event.type} isn't what its contract says: ${issues.join('; ')}`);
  }
  return new declaration(event.subject, data.data as never);
}
