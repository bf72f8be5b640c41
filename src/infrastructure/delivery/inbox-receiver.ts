import { Inject, Injectable } from '@nestjs/common';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { assertNames, parseMessage } from '../cloudevents/mapping.js';
import { plainEvent } from '../cloudevents/plain-event.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Permissions } from '../contracts/permissions.js';
import { Reject } from '../contracts/message.js';
import { runInContext } from '../observability/request-context.js';
import { HANDLING } from '../observability/telemetry.js';
import { isDataException, type Sql } from '../persistence/sql.js';
import type { BatchPrelude } from '../persistence/unit.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { UNKNOWN_CONSUMER } from '../store/dead-letter-rows.js';
import { claimDelivery, insertDeliveries, type Delivery } from '../store/delivery-rows.js';
import { isInInbox, recordInInbox, type IncomingMessage, type InboxOutcome } from '../store/inbox-rows.js';
import type { Consumer } from './consumer.js';
import { effectConsumer } from './effect-consumer.js';
import { Journal } from './journal.js';
import { MessageBatches, oneForEachRun, type ReceivedMessage } from './message-batches.js';
import { messageContext } from './message-context.js';
import type { DeliveryPolicy } from '../contracts/retry-policy.js';
import { withinTime } from './time-limit.js';
import { UnknownType } from './unknown-type.js';

/** The injection token of the `DeliveryPolicy` of this process. */
export const DELIVERY_POLICY = Symbol('DELIVERY_POLICY');
/** The injection token of a `WakeConsumer`. */
export const WAKE_CONSUMER = Symbol('WAKE_CONSUMER');
/** Tells the relay that deliveries of a consumer have been committed. */
export type WakeConsumer = (consumer: string) => void;

/** What follows the name of a consumer in the inbox records of events that wait for a release that knows their type. */
const WAITING_CONSUMER = '?';

/**
 * Hands an event to a consumer so that its effects happen exactly once: the inbox record, the state of the consumer and
 * the messages that it sends are one unit of work. Every transport ends here.
 */
@Injectable()
export class InboxReceiver {
  /** Runs before each attempt, outside of its unit of work: the console makes attempts fail by it, in development. */
  beforeAttempt?: (consumer: string) => Promise<void>;
  private readonly preludes = new Map<string, BatchPrelude<IncomingMessage, InboxOutcome>>();
  private readonly batches = new MessageBatches((consumer, event) => this.addEffect(consumer, event));

  constructor(
    private readonly work: UnitOfWork,
    private readonly registry: HandlerRegistry,
    private readonly permissions: Permissions,
    private readonly journal: Journal,
    @Inject(DELIVERY_POLICY) private readonly policy: DeliveryPolicy,
    @Inject(WAKE_CONSUMER) private readonly wakeConsumer: WakeConsumer,
  ) {}

  /** The modules of this process and their effects, as consumers of deliveries. */
  get consumers(): Consumer[] {
    const modules = this.registry.hosted.map((name) => ({
      name,
      policy: this.policy,
      journal: this.journal,
      types: this.registry.handledTypes(name),
      deliver: (delivery: Delivery) => this.receive(name, delivery.event, delivery),
    }));
    const effects = this.registry.effects.map(({ effect, message, module }) =>
      effectConsumer(effect, message, module, this.work, this.policy, this.journal),
    );
    return [...modules, ...effects];
  }

  /**
   * @param consumer name of a module of this process
   * @param event also a `CloudEvent` of the SDK
   * @param delivery claimed in the same unit of work; absent when a broker brought the event
   * @returns `handled` now, `duplicate` when handled before, `lease-lost` when another process has the delivery
   * @throws UnknownType (a Reject) when the consumer has no handler for the type, Reject when the event can never succeed
   *   here; any other error is worth a retry. Nothing is kept then.
   */
  async receive(
    consumer: string,
    event: CloudEvent,
    delivery?: Delivery,
  ): Promise<'handled' | 'duplicate' | 'lease-lost'> {
    const subscription = this.registry.subscription(consumer, event.type);
    const plain = 'toJSON' in event ? plainEvent(event) : event;
    if (!subscription) return this.receiveUnknown(consumer, plain, delivery);
    this.permissions.assertAllowsSource(subscription.message, plain.source);
    if (this.beforeAttempt) await this.beforeAttempt(consumer);
    const parse = () => parseMessage(plain, subscription.message);
    const message = parse();
    const context = messageContext(plain, consumer);
    const { handler, effect } = subscription;
    const preparing = handler && runInContext(context, () => handler.prepare(message));
    const prepared = preparing && (await withinTime(this.policy.timeoutMs, 'prepare()', () => preparing));
    const nextMessage = oneForEachRun(parse, preparing ? undefined : message);
    const incoming: ReceivedMessage = { consumer, event: plain, nextMessage, prepared, ...(delivery && { delivery }) };
    const handle = async (outcome: InboxOutcome) => {
      if (outcome !== 'new') return outcome;
      if (handler) await HANDLING.run({ consumer, event: plain }, () => handler.handle(nextMessage(), prepared));
      if (effect) await this.addEffect(effect.consumer, plain);
      return 'handled';
    };
    const joint = this.batches.of(subscription);
    try {
      return await runInContext(context, () => this.work.runInBatch(this.preludeOf(consumer), incoming, handle, joint));
    } catch (error) {
      if (!isDataException(error)) throw error;
      // The contract lets a value through that the columns of the consumer can't hold.
      throw new Reject(`${event.type} holds a value that ${consumer} can't store`, { cause: error });
    }
  }

  /**
   * Stores an event of an unknown type once: the release that knows the type handles it right after its start. After the grace
   * the event is a dead letter.
   * @param module that a broker delivered the event to; absent where the type decides on the consumers
   * @throws UnknownType when the policy has no grace, Reject when no release could handle the event
   */
  async keepForRelease(event: CloudEvent, module?: string): Promise<void> {
    const { unknownTypeGraceMs = 0 } = this.policy;
    if (unknownTypeGraceMs === 0) throw new UnknownType(event.type, module);
    assertNames(event);
    const consumer = module ?? UNKNOWN_CONSUMER;
    await this.work.run(async () => {
      const { sql } = this.work;
      const [outcome] = await recordInInbox(sql, [{ consumer: `${consumer}${WAITING_CONSUMER}`, event }]);
      if (outcome === 'new') await insertDeliveries(sql, [{ consumer, event }], unknownTypeGraceMs);
    });
  }

  /** Adds the delivery of an effect to the unit that handles its message. */
  private async addEffect(consumer: string, event: CloudEvent): Promise<void> {
    await insertDeliveries(this.work.sql, [{ consumer, event }]);
    this.work.unit.afterCommit(() => this.wakeConsumer(consumer));
  }

  /** Another release may have handled the event already. */
  private async receiveUnknown(
    consumer: string,
    event: CloudEvent,
    delivery?: Delivery,
  ): Promise<'duplicate' | 'lease-lost'> {
    const { sql } = this.work;
    if (!(await isInInbox(sql, consumer, event))) throw new UnknownType(event.type, consumer);
    const isOurs = !delivery || (await this.work.run(() => claimDelivery(this.work.sql, delivery)));
    return isOurs ? 'duplicate' : 'lease-lost';
  }

  /** The first statement of every unit of work in which this consumer handles a message. */
  private preludeOf(consumer: string): BatchPrelude<IncomingMessage, InboxOutcome> {
    const known = this.preludes.get(consumer);
    if (known) return known;
    const { isOn } = this.journal;
    const load = (sql: Sql, messages: readonly IncomingMessage[]) => recordInInbox(sql, messages, isOn);
    const prelude = { batchKey: consumer, load };
    this.preludes.set(consumer, prelude);
    return prelude;
  }
}
