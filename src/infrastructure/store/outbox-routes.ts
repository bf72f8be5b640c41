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

/**
 * SQL that leaves out the given queues and groups, with its parameters: a CTE, a join and conditions. Messages of order ''
 * with one partition key may belong to several groups. What comes after one that is left out is left out as well.
 * @param loaded SQL of the messages that the caller has already
 * @param first position of the first parameter
 */
export function excluding(
  { dialect }: Pick<Sql, 'dialect'>,
  { queues, groups }: OutboxExclusions,
  routes: OutboxRoutes,
  loaded: string,
  first: number,
): { cte: string; join: string; conditions: string; parameters: string[] } {
  const isPostgres = dialect === 'postgres';
  const parameters: string[] = [];
  const parameter = (value: object) => `$${first + parameters.push(JSON.stringify(value)) - 1}`;
  const list = (values: object) =>
    isPostgres
      ? `(SELECT json_array_elements_text(${parameter(values)}::json))`
      : `(SELECT value FROM json_each(${parameter(values)}))`;
  // json_each() has a column `type` of its own.
  const routeOf = (map: object) =>
    isPostgres
      ? `COALESCE(${parameter(map)}::json->>type, '')`
      : `COALESCE((SELECT value FROM json_each(${parameter(map)}) WHERE key = mesh_outbox.type), '')`;
  const conditions: string[] = [];
  if (queues.length > 0)
    conditions.push(`AND ${routeOf(routes.orders)} || ' ' || partition_key NOT IN ${list(queues)}`);
  if (groups.length === 0) return { cte: '', join: '', conditions: conditions.join(' '), parameters };
  const [order, group, full] = [routeOf(routes.orders), routeOf(routes.groups), list(groups)];
  conditions.push(`AND ${group} NOT IN ${full} AND (${order} <> '' OR left_seq IS NULL OR left_seq > seq)`);
  return {
    cte: `WITH left_out AS MATERIALIZED (
      SELECT partition_key AS left_key, MIN(seq) AS left_seq FROM mesh_outbox
      WHERE ${group} IN ${full} AND ${order} = '' AND seq NOT IN ${loaded} GROUP BY partition_key
    )`,
    join: 'LEFT JOIN left_out ON left_key = partition_key',
    conditions: conditions.join(' '),
    parameters,
  };
}
