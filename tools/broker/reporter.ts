import { printableLine } from '../../src/infrastructure/observability/printable.js';
import type { Consumer, Handled } from './consumers.js';
import { asText, type StoredEvent } from './stored-event.js';

const COLOURS = { good: 32, waiting: 33, bad: 31, quiet: 90 } as const;

/** Prints one line for each step of a message. */
export class Reporter {
  constructor(
    private readonly write: (line: string) => void,
    private readonly isColoured: boolean,
  ) {}

  /** Prints an event whose deliveries begin, before it is accepted. @param consumers the Triggers that get the event */
  received(event: StoredEvent, consumers: readonly string[]): void {
    this.line('quiet', 'received', event, recipients(consumers));
  }

  /** Prints an event that is answered with 202. @param consumers the Triggers that get the event */
  accepted(event: StoredEvent, consumers: readonly string[]): void {
    this.line('quiet', 'accepted', event, recipients(consumers));
  }

  refused(status: number, reason: string): void {
    this.line('bad', 'refused', {}, `${status}: ${reason}`);
  }

  /** Prints an event whose deliveries end without an outcome. @param consumers the Triggers that may not have the event */
  cancelled(event: StoredEvent, consumers: readonly string[], reason: Error): void {
    this.line('bad', 'cancelled', event, `${recipients(consumers)}${because(reason)}`);
  }

  delivered(event: StoredEvent, { delivered }: Consumer, { status, reply }: Handled): void {
    this.line('good', 'delivered', event, `${delivered}: ${status}${reply ? `, with a reply: ${reply.type}` : ''}`);
  }

  /** @returns a function that prints a failed attempt and the wait before its retry, in ms */
  onRetry(event: StoredEvent, { name }: Consumer): (error: unknown, retry: number, waitMs: number) => void {
    return (error, retry, waitMs) => {
      this.line('waiting', 'failed', event, `${name}: retry ${retry} in ${waitMs} ms${because(error)}`);
    };
  }

  /** Prints a failed delivery that will not be retried. */
  failedForGood(event: StoredEvent, { name, isDeadLetterSink }: Consumer, error: unknown, isParked: boolean): void {
    const what = `gave up${isDeadLetterSink ? ' as well' : ''}${isParked ? ', parked here' : ''}`;
    this.line('bad', isParked ? 'parked' : 'dead', event, `${name}: ${what}${because(error)}`);
  }

  /** Prints a problem of the broker itself. */
  trouble(text: string, error?: unknown): void {
    this.line('waiting', 'trouble', {}, `${text}${because(error)}`);
  }

  private line(
    colour: keyof typeof COLOURS,
    what: string,
    { type, subject, id }: Partial<Pick<StoredEvent, 'type' | 'subject' | 'id'>>,
    text: string,
  ): void {
    const names = [type, subject, id].filter((it) => it !== undefined).map((it) => shortened(asText(it)));
    const line = printableLine([new Date().toISOString().slice(11, 23), what.padEnd(9), ...names, text].join('  '));
    this.write(this.isColoured ? `\x1b[${COLOURS[colour]}m${line}\x1b[0m` : line);
  }
}

function recipients(consumers: readonly string[]): string {
  return consumers.length === 0 ? 'no Trigger matches' : `for ${consumers.join(', ')}`;
}

/** Shortens a UUID v7 to its last 8 digits. The first digits are a time and hardly differ. */
function shortened(text: string): string {
  return text.replace(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{4}(?=[0-9a-f]{8}$)/i, '…');
}

function because(error: unknown): string {
  return error instanceof Error ? ` (${error.message.slice(0, 200)})` : '';
}
