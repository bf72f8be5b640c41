import type { Logger } from '@nestjs/common';
import { asText, type StoredEvent } from './wire.js';

/** What our delivery engine tells of a delivery. */
interface Facts {
  readonly consumer?: string;
  readonly type?: string;
  readonly subject?: string;
  readonly event?: string;
  readonly tries?: number;
  readonly nextInMs?: number;
  readonly err?: unknown;
}

const COLOURS = { good: 32, waiting: 33, bad: 31, quiet: 90 } as const;

/** Tells what crosses the broker, one line each. It is the logger of the delivery engine, too. */
export class Narrator {
  constructor(
    private readonly write: (line: string) => void,
    private readonly isColoured: boolean,
  ) {}

  /** For the engine, which asks for Nest's logger and uses three of its methods. */
  get logger(): Logger {
    return this as unknown as Logger;
  }

  accepted(event: StoredEvent): void {
    this.line('quiet', 'accepted', { ...event, event: event.id }, `by ${event._mesh.broker}`);
  }

  refused(status: number, reason: string): void {
    this.line('bad', 'refused', {}, `${status}: ${reason}`);
  }

  /** A delivery that is over. */
  log(facts: Facts, outcome: string): void {
    this.line('good', 'delivered', facts, outcome.replace(/^delivered /, ''));
  }

  /** A delivery that will be tried again, or trouble of the broker itself. */
  warn(facts: Facts, text: string): void {
    const what =
      facts.nextInMs === undefined ? text : `${facts.consumer}: retry ${facts.tries} in ${facts.nextInMs} ms`;
    this.line('waiting', facts.nextInMs === undefined ? 'trouble' : 'failed', facts, `${what}${because(facts.err)}`);
  }

  /** A delivery that was given up. */
  error(facts: Facts, _text: string): void {
    const isParked = facts.consumer?.endsWith(' dead letters');
    const what = isParked ? 'its dead letter sink failed too, so it is parked here' : 'given up';
    this.line('bad', isParked ? 'parked' : 'dead', facts, `${facts.consumer}: ${what}${because(facts.err)}`);
  }

  private line(colour: keyof typeof COLOURS, what: string, { type, subject, event }: Facts, text: string): void {
    const names = [type, subject && shortened(subject), event && shortened(event)]
      .filter(Boolean)
      .map((it) => asText(it!));
    const line = [new Date().toISOString().slice(11, 23), what.padEnd(9), ...names, text].join('  ');
    this.write(this.isColoured ? `\x1b[${COLOURS[colour]}m${line}\x1b[0m` : line);
  }
}

/** The end of a UUID v7 differs more than its beginning, which is a time. */
function shortened(id: string): string {
  return id.length > 16 ? `…${id.slice(-8)}` : id;
}

function because(error: unknown): string {
  return error instanceof Error ? ` (${error.message.slice(0, 200)})` : '';
}
