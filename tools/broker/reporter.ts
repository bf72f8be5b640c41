import type { Logger } from '@nestjs/common';
import { BrokerStopping } from './consumers.js';
import { asText, type StoredEvent } from './stored-event.js';

/** The fields that the delivery engine logs for a delivery. */
interface Facts {
  readonly consumer?: string;
  readonly type?: string;
  readonly subject?: string;
  readonly event?: string;
  readonly attempts?: number;
  readonly retryInMs?: number;
  readonly err?: unknown;
}

const COLOURS = { good: 32, waiting: 33, bad: 31, quiet: 90 } as const;

/** Prints one line for each step of a message. It is also the logger of the delivery engine. */
export class Reporter {
  constructor(
    private readonly write: (line: string) => void,
    private readonly isColoured: boolean,
    /** Whether failed messages of this consumer go to a dead letter sink. */
    private readonly hasSink: (consumer: string) => boolean,
  ) {}

  /** For the delivery engine, which expects Nest's Logger and uses only log, warn and error. */
  get logger(): Logger {
    return this as unknown as Logger;
  }

  /** @param consumers the Triggers that get the event */
  accepted(event: StoredEvent, consumers: readonly string[]): void {
    const recipients = consumers.length === 0 ? 'no Trigger matches' : `for ${consumers.join(', ')}`;
    this.line('quiet', 'accepted', { ...event, event: event.id }, recipients);
  }

  refused(status: number, reason: string): void {
    this.line('bad', 'refused', {}, `${status}: ${reason}`);
  }

  /** Prints a finished delivery. */
  log(facts: Facts, outcome: string): void {
    this.line('good', 'delivered', facts, outcome.replace(/^delivered /, ''));
  }

  /** Prints a delivery that will be retried, or a problem of the broker itself. */
  warn(facts: Facts, text: string): void {
    if (facts.err instanceof BrokerStopping) return;
    const what =
      facts.retryInMs === undefined ? text : `${facts.consumer}: retry ${facts.attempts} in ${facts.retryInMs} ms`;
    this.line('waiting', facts.retryInMs === undefined ? 'trouble' : 'failed', facts, `${what}${because(facts.err)}`);
  }

  /** Prints a delivery that has failed for good. */
  error(facts: Facts, _text: string): void {
    const isSink = facts.consumer?.endsWith(' dead letters');
    const isParked = isSink || !this.hasSink(facts.consumer ?? '');
    const what = isSink ? 'gave up as well, parked here' : isParked ? 'gave up, parked here' : 'gave up';
    this.line('bad', isParked ? 'parked' : 'dead', facts, `${facts.consumer}: ${what}${because(facts.err)}`);
  }

  private line(colour: keyof typeof COLOURS, what: string, { type, subject, event }: Facts, text: string): void {
    const names = [type, subject, event].filter((it) => it !== undefined).map((it) => shortened(asText(it)));
    const line = [new Date().toISOString().slice(11, 23), what.padEnd(9), ...names, text].join('  ');
    this.write(this.isColoured ? `\x1b[${COLOURS[colour]}m${line}\x1b[0m` : line);
  }
}

/** Shortens a UUID v7 to its last 8 digits. The first digits are a time and hardly differ. */
function shortened(text: string): string {
  return text.replace(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{4}(?=[0-9a-f]{8}$)/i, '…');
}

function because(error: unknown): string {
  return error instanceof Error ? ` (${error.message.slice(0, 200)})` : '';
}
