import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { Sql } from '../persistence/sql.js';

/** The key within which messages keep their order: the event's `partitionkey`, else its subject, else its id. */
export function partitionKeyOf({ partitionkey, subject, id }: CloudEvent): string {
  return typeof partitionkey === 'string' ? partitionkey : (subject ?? id);
}

/** The sequence numbers of the JSON array in the `n`-th parameter, as a subquery. */
export function sequenceList(sql: Sql, n = 1): string {
  return sql.dialect === 'postgres'
    ? `(SELECT json_array_elements_text($${n}::json)::bigint)`
    : `(SELECT value FROM json_each($${n}))`;
}
