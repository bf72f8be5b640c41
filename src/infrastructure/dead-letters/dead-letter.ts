import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { DeadLetterGroup, DeadLetterRow } from '../store/dead-letter-rows.js';

/** A message that failed for good: at which consumer, after how many attempts, and why. */
export interface DeadLetter {
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

export function deadLetter({ dead_at, event, destination, ...row }: DeadLetterRow): DeadLetter {
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
    event: JSON.parse(event) as CloudEvent,
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
