import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { DeadLetterGroup } from '../store/dead-letter-queries.js';
import type { DeadLetterHead, DeadLetterRow } from '../store/dead-letter-rows.js';

/** What a list says of a message that failed for good: at which consumer, after how many attempts, and why. */
export interface ListedDeadLetter {
  readonly id: string;
  readonly consumer: string;
  readonly type: string;
  readonly subject: string | null;
  /** Attempts that failed; 0 where a broker made them. */
  readonly attempts: number;
  /** The fingerprint of the error: equal for messages that failed alike. */
  readonly cause: string;
  readonly error: string;
  /** UTC, ISO 8601. */
  readonly deadAt: string;
  /** The address that a broker could not deliver to. */
  readonly destination?: string;
}

/** A message that failed for good. */
export interface DeadLetter extends ListedDeadLetter {
  readonly event: CloudEvent;
}

/** Dead letters of one consumer and type with the same cause. Times in UTC, ISO 8601. */
export interface DeadLetterCause {
  readonly consumer: string;
  readonly type: string;
  readonly cause: string;
  readonly count: number;
  readonly firstAt: string;
  readonly lastAt: string;
}

export function deadLetter(row: DeadLetterRow): DeadLetter {
  return { ...listedDeadLetter(row), event: JSON.parse(row.event) as CloudEvent };
}

export function listedDeadLetter({ dead_at, destination, ...row }: DeadLetterHead): ListedDeadLetter {
  const { id, consumer, type, subject, attempts, cause, error } = row;
  return {
    id,
    consumer,
    type,
    subject,
    attempts,
    cause,
    error,
    deadAt: new Date(dead_at).toISOString(),
    ...(destination !== null && { destination }),
  };
}

export function deadLetterCause({ consumer, type, cause, n, first, last }: DeadLetterGroup): DeadLetterCause {
  return {
    consumer,
    type,
    cause,
    count: Number(n),
    firstAt: new Date(Number(first)).toISOString(),
    lastAt: new Date(Number(last)).toISOString(),
  };
}
