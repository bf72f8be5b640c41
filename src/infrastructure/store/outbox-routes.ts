import type { Sql } from '../persistence/sql.js';

/**
 * How messages leave the outbox towards a broker, by their type. Types without an entry belong to the route ''.
 * `orders`: messages of one partition key and one order leave one after the other. `groups`: messages of one group wait
 * for the same consumers.
 */
export interface OutboxRoutes {
  readonly orders: Readonly<Record<string, string>>;
  readonly groups: Readonly<Record<string, string>>;
}

/** Messages that a query of the outbox leaves out. */
export interface OutboxExclusions {
  /** The names of queues, as `queueName()` makes them. */
  readonly queues: readonly string[];
  readonly groups: readonly string[];
}

/** The name of the queue of an order and a partition key. Orders are module names, so they contain no space. */
export function queueName(order: string, partitionKey: string): string {
  return `${order} ${partitionKey}`;
}

/** SQL for a query of the outbox. */
interface ExclusionSql {
  readonly cte: string;
  readonly join: string;
  readonly conditions: string;
  readonly parameters: string[];
}

/**
 * SQL that leaves out the given queues and groups. Messages of order '' with one partition key may belong to several groups:
 * what comes after one that is left out is left out as well.
 * @param loaded SQL of the messages that the caller has already
 * @param first position of the first parameter
 */
export function excluding(
  { dialect }: Pick<Sql, 'dialect'>,
  { queues, groups }: OutboxExclusions,
  routes: OutboxRoutes,
  loaded: string,
  first: number,
): ExclusionSql {
  const parameters: string[] = [];
  const list = (values: readonly string[]) => {
    const parameter = `$${first + parameters.push(JSON.stringify(values)) - 1}`;
    return dialect === 'postgres'
      ? `(SELECT json_array_elements_text(${parameter}::json))`
      : `(SELECT value FROM json_each(${parameter}))`;
  };
  // The types of a route are listed, so that nothing is looked up for each row of a long outbox.
  const typesOf = (map: Readonly<Record<string, string>>, isWanted: (route: string) => boolean) => {
    const types = Object.keys(map);
    const wanted = `type IN ${list(types.filter((type) => isWanted(map[type]!)))}`;
    return isWanted('') ? `(${wanted} OR type NOT IN ${list(types)})` : wanted;
  };
  const conditions: string[] = [];
  for (const [order, keys] of keysByOrder(queues)) {
    const isOfOrder = typesOf(routes.orders, (it) => it === order);
    conditions.push(`AND NOT (${isOfOrder} AND partition_key IN ${list(keys)})`);
  }
  if (groups.length === 0) return { cte: '', join: '', conditions: conditions.join(' '), parameters };
  const isOfGroup = typesOf(routes.groups, (it) => groups.includes(it));
  const isEvent = typesOf(routes.orders, (it) => it === '');
  conditions.push(`AND NOT ${isOfGroup} AND NOT (${isEvent} AND left_seq IS NOT NULL AND left_seq < seq)`);
  return {
    cte: `WITH left_out AS MATERIALIZED (
      SELECT partition_key AS left_key, MIN(seq) AS left_seq FROM mesh_outbox
      WHERE ${isOfGroup} AND ${isEvent} AND seq NOT IN ${loaded} GROUP BY partition_key
    )`,
    join: 'LEFT JOIN left_out ON left_key = partition_key',
    conditions: conditions.join(' '),
    parameters,
  };
}

/** The partition keys of queues, by their order. */
function keysByOrder(queues: readonly string[]): Map<string, string[]> {
  const keys = new Map<string, string[]>();
  for (const name of queues) {
    const space = name.indexOf(' ');
    const order = name.slice(0, space);
    const ofOrder = keys.get(order);
    if (ofOrder) ofOrder.push(name.slice(space + 1));
    else keys.set(order, [name.slice(space + 1)]);
  }
  return keys;
}
