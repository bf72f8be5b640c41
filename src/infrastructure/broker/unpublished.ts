import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { MESSAGE_UNIT } from '../delivery/consumer.js';
import type { Journal } from '../delivery/journal.js';
import { DEAD_LETTER } from '../observability/telemetry.js';
import type { SqlValue } from '../persistence/sql.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { insertDeadLetter, UNPUBLISHED } from '../store/dead-letter-rows.js';
import { removeFromOutbox } from '../store/outbox-rows.js';

/** An event that no broker takes. */
export interface UnpublishedEvent {
  readonly seq: SqlValue;
  readonly event: CloudEvent;
  readonly attempts: number;
  readonly error: Error;
}

/** Moves an event from the outbox to the dead letters. @throws Error when the database can't store it */
export async function deadLetterUnpublished(
  work: UnitOfWork,
  journal: Journal,
  { seq, event, attempts, error }: UnpublishedEvent,
): Promise<void> {
  await work.run(async () => {
    const { sql } = work;
    if ((await removeFromOutbox(sql, [seq])) === 0) return;
    await insertDeadLetter(sql, { event, attempts, error, consumer: UNPUBLISHED });
    await journal.add(sql, { event, attempts, consumer: UNPUBLISHED, outcome: 'dead' });
  }, MESSAGE_UNIT);
  DEAD_LETTER.publish({ consumer: UNPUBLISHED, event, attempts });
}
