import { Inject, Injectable, type Type } from '@nestjs/common';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { isShort } from '../cloudevents/attributes.js';
import { insertDeadLetter, eventIdKey } from '../store/dead-letter-rows.js';
import { consumersByType } from '../contracts/mesh-feature.js';
import { ALL_MODULES } from '../contracts/handler-registry.js';

/** Whether this process keeps what a broker gives up, and where the modules are that it belongs to. */
export const DEAD_LETTER_SINK = Symbol('DEAD_LETTER_SINK');
export interface DeadLetterSinkOptions {
  readonly isOpen: boolean;
  /** Base URLs by module. */
  readonly services: Readonly<Record<string, string>>;
}

/**
 * Keeps the messages that a broker could not deliver, each with the consumer that failed, so that a replay goes there and
 * to nobody else. A process of its own: it must not be out of order together with a consumer.
 */
@Injectable()
export class DeadLetterSink {
  private readonly consumers: Map<string, string[]>;

  constructor(
    private readonly work: UnitOfWork,
    @Inject(DEAD_LETTER_SINK) private readonly options: DeadLetterSinkOptions,
    @Inject(ALL_MODULES) modules: readonly Type[],
  ) {
    this.consumers = consumersByType(modules);
  }

  get isOpen(): boolean {
    return this.options.isOpen;
  }

  /** Keeps one. It may come twice; as long as it lies here it is kept once. */
  async store(event: CloudEvent): Promise<void> {
    const letters = this.consumersOf(event);
    await this.work.run(async () => {
      const { sql } = this.work;
      for (const { consumer, destination } of letters) {
        const known = await sql.all(
          `SELECT 1 FROM mesh_dead_letter WHERE event_id = $1 AND consumer = $2 AND type = $3`,
          [eventIdKey(event), consumer, event.type],
        );
        // A broker doesn't say how often it tried.
        if (known.length === 0)
          await insertDeadLetter(sql, { event, consumer, destination, attempts: 0, error: errorOf(event) });
      }
    });
  }

  /**
   * Who failed. A broker says so in `knativeerrordest`; where it doesn't (a timeout, for one), all who want the type are
   * given it again, and whoever has handled it knows it.
   */
  private consumersOf(event: CloudEvent): { consumer: string; destination?: string }[] {
    const { knativeerrordest: failed } = event;
    if (typeof failed === 'string' && URL.canParse(failed)) {
      const url = new URL(failed);
      // The name of a consumer is in an index: no address of ours is longer.
      if (isShort(url.href)) return [{ consumer: consumerAt(url), destination: url.href }];
    }
    return (this.consumers.get(event.type) ?? ['unknown']).map((consumer) => ({ consumer }));
  }

  /**
   * Where a replay goes: what the broker said if a module of this application lives there, else where the consumer is
   * known to live. Whoever writes a dead letter doesn't say where we post.
   */
  addressOf(consumer: string, said: string | null): string | undefined {
    const { services } = this.options;
    const bases = Object.values(services).map((base) => new URL(base).origin);
    if (said !== null && bases.includes(new URL(said).origin)) return said;
    const base = services[consumer];
    return base && `${base}/mesh/${consumer}`;
  }
}

/** The name of the consumer behind an address: its module where that can be seen. */
export function consumerAt(url: URL): string {
  return /^\/mesh\/([a-z][\w-]*)$/.exec(url.pathname)?.[1] ?? url.href;
}

/** What the consumer last answered; the broker keeps the beginning of it in base64. */
function errorOf({ knativeerrorcode: code, knativeerrordata: data }: CloudEvent): Error {
  const text = typeof data === 'string' ? Buffer.from(data, 'base64').toString() : '';
  const error = new Error(detailOf(text) || 'The broker gives no reason');
  error.name = typeof code === 'string' ? `HTTP ${code.slice(0, 10)}` : 'Undeliverable';
  return error;
}

function detailOf(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    if (typeof detail === 'string') return detail;
  } catch {
    // Not a problem document.
  }
  return text;
}
