import { Inject, Injectable, type Type } from '@nestjs/common';
import { isWithinNameLimit } from '../cloudevents/attributes.js';
import { extension, type CloudEvent } from '../cloudevents/cloud-event.js';
import { ALL_MODULES } from '../contracts/handler-registry.js';
import { consumersByType } from '../contracts/mesh-feature.js';
import { consumerAt } from '../delivery/consumer-addresses.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { hasDeadLetter, insertDeadLetter } from '../store/dead-letter-rows.js';

/** The injection token of a boolean: whether this process stores the dead letters of a broker. */
export const IS_DEAD_LETTER_SINK = Symbol('IS_DEAD_LETTER_SINK');

/**
 * Stores the messages that a broker could not deliver, each with the consumer that failed, so that a requeued message goes
 * there and to no other. It is a process of its own: a sink must not be down together with a consumer.
 */
@Injectable()
export class DeadLetterSink {
  private readonly consumers: Map<string, string[]>;

  constructor(
    private readonly work: UnitOfWork,
    @Inject(IS_DEAD_LETTER_SINK) readonly isOpen: boolean,
    @Inject(ALL_MODULES) modules: readonly Type[],
  ) {
    this.consumers = consumersByType(modules);
  }

  /** Stores one dead letter; a repeated delivery of it changes nothing while it is there. */
  async store(event: CloudEvent): Promise<void> {
    await this.work.run(async () => {
      const { sql } = this.work;
      for (const { consumer, destination } of this.failedConsumers(event)) {
        if (await hasDeadLetter(sql, event, consumer)) continue;
        // A broker doesn't tell how often it tried.
        await insertDeadLetter(sql, { event, consumer, destination, attempts: 0, error: errorOf(event) });
      }
    });
  }

  /**
   * The broker names the failed consumer in `knativeerrordest`. Where it doesn't (after a timeout, for one), every consumer
   * of the type gets a dead letter: the inboxes of those that have handled the event drop it.
   */
  private failedConsumers(event: CloudEvent): { consumer: string; destination?: string }[] {
    const destination = extension(event, 'knativeerrordest');
    if (destination !== undefined && URL.canParse(destination)) {
      const url = new URL(destination);
      // The name of a consumer is part of an index.
      if (isWithinNameLimit(url.href)) return [{ consumer: consumerAt(url), destination: url.href }];
    }
    return (this.consumers.get(event.type) ?? ['unknown']).map((consumer) => ({ consumer }));
  }
}

/** The last answer of the consumer; the broker keeps the beginning of its body in Base64. */
function errorOf(event: CloudEvent): Error {
  const code = extension(event, 'knativeerrorcode');
  const text = Buffer.from(extension(event, 'knativeerrordata') ?? '', 'base64').toString();
  const error = new Error(detailOf(text) || 'The broker gives no reason');
  error.name = code === undefined ? 'Undeliverable' : `HTTP ${code.slice(0, 10)}`;
  return error;
}

/** The detail of a problem document, else the whole text. */
function detailOf(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    if (typeof detail === 'string') return detail;
  } catch {
    // Not a problem document.
  }
  return text;
}
