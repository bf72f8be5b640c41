/* Handlings: the agent inserts one row for each message that a consumer handles. Two rows prove a duplicate. */

export interface Message {
  readonly type: string;
  readonly subject: string | null;
}

/** One message that a consumer handled. The agent inserts it in the consumer's unit of work. */
export interface Handling extends Message {
  readonly consumer: string;
  readonly event_id: string;
  readonly partition_key: string;
  /** The id of the message whose handler sent this message, if any. */
  readonly cause: string | null;
  /** Failed attempts before this one; null where a broker delivered the message. */
  readonly attempts: number | null;
}

/** Something that is wrong with a transit, a client, a driver or a message. */
export interface Defect {
  readonly id: string;
  readonly what: string;
}

/** Creates the table of the handlings. `seq` is its only key, so that a message that is handled twice has two rows. */
export const HANDLED_TABLE = {
  sqlite: handledTable('integer PRIMARY KEY AUTOINCREMENT'),
  postgres: handledTable('bigserial'),
};

function handledTable(sequenceType: string): string {
  return `CREATE TABLE faults_handled (
    seq ${sequenceType}, consumer text, event_id text, type text, subject text, partition_key text, cause text,
    attempts integer
  )`;
}

export const COMPLETE = 'cabs.rides.complete-transit';

/** Messages that a consumer handled more than once, and transits that more than one message completed. */
export function handledTwice(handlings: readonly Handling[]): Defect[] {
  const same = groupBy(handlings, ({ consumer, event_id }) => `${consumer} ${event_id}`);
  const twice = [...same.values()].filter(({ length }) => length > 1);
  const completions = groupBy(
    handlings.filter(({ type }) => type === COMPLETE),
    ({ subject }) => subject,
  );
  const messages = (group: readonly Handling[]) => new Set(group.map(({ event_id }) => event_id)).size;
  // A request repeated with the same idempotency key must not become a second message.
  const completedAgain = [...completions].filter(([, group]) => messages(group) > 1);
  return [
    ...twice.map((group) => {
      const { consumer, type, subject, event_id } = group[0]!;
      return { id: subject ?? '?', what: `${consumer} has handled ${type} ${event_id} ${group.length} times` };
    }),
    ...completedAgain.map(([subject, group]) => ({
      id: subject ?? '?',
      what: `${messages(group)} messages ${COMPLETE}`,
    })),
  ];
}

/**
 * Messages that a consumer handled before a message which the same unit of work had sent earlier with the same key. The
 * ids show the order of sending: they increase within a process, also when its clock is set back. Messages that failed
 * before or came from a broker are skipped, as their order is not promised.
 */
export function handledOutOfOrder(handlings: readonly Handling[]): Defect[] {
  const ordered = handlings.filter(({ cause, attempts }) => cause !== null && attempts === 0);
  const groups = groupBy(ordered, ({ consumer, partition_key, cause }) => `${consumer} ${partition_key} ${cause}`);
  return [...groups.values()].flatMap((group) =>
    group.slice(1).flatMap(({ consumer, type, event_id, subject }, index) => {
      const before = group[index]!;
      if (event_id >= before.event_id) return [];
      return {
        id: subject ?? '?',
        what: `${consumer} has handled ${before.type} before ${type}, which was sent earlier`,
      };
    }),
  );
}

export function groupBy<Item, Key>(items: readonly Item[], keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}
