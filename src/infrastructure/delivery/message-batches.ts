import { randomUUID } from 'node:crypto';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Subscription } from '../contracts/find-handlers.js';
import type { DurableMessage } from '../contracts/message.js';
import { continueTrace, runInContext } from '../observability/request-context.js';
import { HANDLING } from '../observability/telemetry.js';
import type { JointBatch } from '../persistence/unit-of-work.js';
import { partitionKeyOf } from '../store/row-parameters.js';
import type { IncomingMessage, InboxOutcome } from '../store/inbox-rows.js';
import { messageContext } from './message-context.js';

/** A message that is about to be recorded in the inbox. */
export interface ReceivedMessage extends IncomingMessage {
  /** @returns a message that no other run has */
  readonly nextMessage: () => DurableMessage;
  readonly prepared: unknown;
}

export type Outcome = 'handled' | 'duplicate' | 'lease-lost';
type Batch = JointBatch<ReceivedMessage, InboxOutcome, Outcome>;

/** Runs the handlers that take several messages at once, in the unit of work that has recorded them. */
export class MessageBatches {
  private readonly batches = new WeakMap<Subscription, Batch>();

  /** @param addEffect adds the delivery of an effect to the open unit */
  constructor(private readonly addEffect: (consumer: string, event: CloudEvent) => Promise<void>) {}

  /** The batch of the messages of a subscription; undefined where its handler takes one at a time. */
  of(subscription: Subscription): Batch | undefined {
    if (!subscription.handler?.handleMany) return undefined;
    const known = this.batches.get(subscription);
    if (known) return known;
    const batch: Batch = { run: (received, outcomes) => this.run(subscription, received, outcomes) };
    this.batches.set(subscription, batch);
    return batch;
  }

  private async run(
    subscription: Subscription,
    received: readonly ReceivedMessage[],
    outcomes: readonly InboxOutcome[],
  ): Promise<Outcome[]> {
    const fresh = received.filter((_, index) => outcomes[index] === 'new');
    for (const list of listsOf(fresh)) await this.handle(subscription, list);
    return outcomes.map((outcome) => (outcome === 'new' ? 'handled' : outcome));
  }

  private async handle(
    { consumer, handler, effect }: Subscription,
    received: readonly ReceivedMessage[],
  ): Promise<void> {
    const events = new Map(received.map(({ nextMessage, event }) => [nextMessage(), event]));
    const causedBy = <T>(message: DurableMessage, work: () => T): T => {
      const event = events.get(message);
      if (!event) throw new Error('causedBy() needs a message of this batch');
      return runInContext(messageContext(event, consumer), work);
    };
    const together = { correlationId: randomUUID(), traceparent: continueTrace(), module: consumer };
    const handled = runInContext(together, () =>
      handler!.handleMany!(
        [...events.keys()],
        causedBy,
        received.map(({ prepared }) => prepared),
      ),
    );
    // Each message is told to take as long as the batch.
    await Promise.all(received.map(({ event }) => HANDLING.run({ consumer, event }, () => handled)));
    if (effect) for (const { event } of received) await this.addEffect(effect.consumer, event);
  }
}

/**
 * A run that was rolled back may have changed its message, so each repetition gets a new one.
 * @param first for the first run, where no other code has it
 */
export function oneForEachRun(parse: () => DurableMessage, first?: DurableMessage): () => DurableMessage {
  return () => {
    const message = first ?? parse();
    first = undefined;
    return message;
  };
}

/**
 * Several messages of a key come together as retries, or when a broker delivers them at once. They may be about the same row, so
 * each list has at most one of each subject and of each partition key. The order within both stays.
 */
function listsOf(received: readonly ReceivedMessage[]): ReceivedMessage[][] {
  const lists: ReceivedMessage[][] = [];
  /** The first list that has no message of a key. */
  const next = new Map<string, number>();
  for (const message of received) {
    const [key, subject] = [partitionKeyOf(message.event), message.event.subject!];
    const index = Math.max(next.get(key) ?? 0, next.get(subject) ?? 0);
    (lists[index] ??= []).push(message);
    next.set(key, index + 1).set(subject, index + 1);
  }
  return lists;
}
