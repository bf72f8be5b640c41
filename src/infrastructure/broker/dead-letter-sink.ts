import { Inject, Injectable } from '@nestjs/common';
import { isWithinNameLimit } from '../cloudevents/attributes.js';
import { extension, type CloudEvent } from '../cloudevents/cloud-event.js';
import { ConsumerAddresses } from '../delivery/consumer-addresses.js';
import { Journal } from '../delivery/journal.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { hasDeadLetter, insertDeadLetter, UNKNOWN_CONSUMER } from '../store/dead-letter-rows.js';

/** The injection token of a boolean: whether this process stores the dead letters of a broker. */
export const IS_DEAD_LETTER_SINK = Symbol('IS_DEAD_LETTER_SINK');

/**
 * Stores the messages that a broker could not deliver, each with the consumer that failed, so that a requeued message goes
 * there and to no other. It is a process of its own: a sink must not be down together with a consumer.
 */
@Injectable()
export class DeadLetterSink {
  constructor(
    private readonly work: UnitOfWork,
    private readonly addresses: ConsumerAddresses,
    private readonly journal: Journal,
    @Inject(IS_DEAD_LETTER_SINK) readonly isOpen: boolean,
  ) {}

  /** Stores one dead letter; a repeated delivery of it changes nothing while it is there. */
  async store(event: CloudEvent): Promise<void> {
    await this.work.run(async () => {
      const { sql } = this.work;
      for (const { consumer, destination } of this.failedConsumers(event)) {
        if (await hasDeadLetter(sql, event, consumer)) continue;
        // A broker doesn't tell how often it tried.
        await insertDeadLetter(sql, { event, consumer, destination, attempts: 0, error: errorOf(event) });
        await this.journal.add(sql, { event, consumer, attempts: 0, outcome: 'dead' });
      }
    });
  }

  /**
   * The broker names the address that failed in `knativeerrordest`. Where it doesn't (after a timeout, for one), or names an
   * address that is none of ours, every consumer of the type gets a dead letter.
   */
  private failedConsumers(event: CloudEvent): { consumer: string; destination?: string }[] {
    const given = extension(event, 'knativeerrordest');
    const href = given !== undefined && URL.canParse(given) ? new URL(given).href : undefined;
    const found = this.addresses.failedConsumers(event.type, href);
    // The name of a consumer is part of an index.
    const destination = href !== undefined && isWithinNameLimit(href) ? href : undefined;
    const consumers = found.length > 0 ? found : [destination ?? UNKNOWN_CONSUMER];
    return consumers.map((consumer) => ({ consumer, ...(destination !== undefined && { destination }) }));
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
