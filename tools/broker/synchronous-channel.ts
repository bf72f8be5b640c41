import { setMaxListeners } from 'node:events';
import { RefusedError } from '../errors.js';
import type { Channel } from './channel.js';
import { deadLetter, type Consumer } from './consumers.js';
import { DeliveryFailed, DeliveryRefused } from './delivery-errors.js';
import type { Reporter } from './reporter.js';
import type { Retries } from './retries.js';
import type { StoredEvent } from './stored-event.js';
import { accept } from './wire.js';

/**
 * The channel of Knative 1.13 and later: the publisher gets its answer when every subscriber has handled the event, or the
 * event went to the dead letter sink. So nothing is stored: until then, the publisher has the event and posts it again.
 */
export class SynchronousChannel implements Channel {
  /** Deliveries that have no outcome yet. */
  open = 0;

  constructor(
    private readonly consumersOf: (event: StoredEvent) => readonly Consumer[],
    private readonly retries: Retries,
    private readonly reporter: Reporter,
    /** The address of the ingress of a broker, to which replies go. */
    private readonly addressOf: (broker: string) => string,
  ) {}

  /** @throws the failure of a delivery that no dead letter sink has taken, when all deliveries have ended */
  async send(event: StoredEvent, signal: AbortSignal): Promise<void> {
    const consumers = this.consumersOf(event);
    const names = consumers.map(({ name }) => name);
    this.reporter.received(event, names);
    const unfinished = new Set(names);
    const deliveries = consumers.map(async (consumer) => {
      this.open++;
      try {
        await this.deliver(consumer, event, signal);
      } finally {
        this.open--;
        if (!signal.aborted) unfinished.delete(consumer.name);
      }
    });
    const outcomes = await Promise.allSettled(deliveries);
    if (signal.aborted) this.reporter.cancelled(event, [...unfinished], signal.reason as Error);
    signal.throwIfAborted();
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    this.reporter.accepted(event, names);
  }

  /** @throws the last failure when there is no dead letter sink, or when that fails, too */
  private async deliver(consumer: Consumer, event: StoredEvent, signal: AbortSignal): Promise<void> {
    const failure = await this.failureOf(consumer, event, signal);
    if (!failure) return;
    this.reporter.failedForGood(event, consumer, failure.error, false);
    if (!consumer.deadLetterSink) throw failure.error;
    await this.deliver(consumer.deadLetterSink, deadLetter(event, failure.error), signal);
  }

  /** Makes all attempts. @returns undefined after a success */
  private async failureOf(consumer: Consumer, event: StoredEvent, signal: AbortSignal) {
    const { retries, reporter } = this;
    const onRetry = reporter.onRetry(event, consumer);
    const outcome = await retries.run(() => consumer.attempt(event, signal), consumer.policy, signal, onRetry);
    if ('error' in outcome) return outcome;
    const { reply } = outcome.value;
    if (reply) {
      const sent = await retries.run(() => this.sendReply(reply, consumer, signal), consumer.policy, signal, onRetry);
      if ('error' in sent) return sent;
    }
    reporter.delivered(event, consumer, outcome.value);
    return undefined;
  }

  /** Sends a reply through the ingress, as a real dispatcher does. @throws DeliveryFailed, DeliveryRefused */
  private async sendReply(reply: StoredEvent, { policy }: Consumer, signal: AbortSignal): Promise<void> {
    const timeouts = policy.timeoutMs > 0 ? [AbortSignal.timeout(policy.timeoutMs)] : [];
    const ended = AbortSignal.any([signal, ...timeouts]);
    setMaxListeners(0, ended);
    const destination = this.addressOf(reply._mesh.broker);
    try {
      await this.send(accept(reply), ended);
    } catch (error) {
      signal.throwIfAborted();
      const text = `its reply failed: ${(error as Error).message}`;
      if (error instanceof RefusedError) throw new DeliveryRefused(text, { destination, code: 400, body: '' });
      throw new DeliveryFailed(text, { destination, code: 500, body: '' });
    }
  }
}
