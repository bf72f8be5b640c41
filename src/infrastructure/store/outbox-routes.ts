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
 * Conditions that leave out the given queues and groups, as SQL, with their parameters.
 * @param first position of the first parameter
 */
export function excluding(
  { dialect }: Pick<Sql, 'dialect'>,
  { queues, groups }: OutboxExclusions,
  routes: OutboxRoutes,
  first: number,
): { sql: string; parameters: string[] } {
  const isPostgres = dialect === 'postgres';
  const parameters: string[] = [];
  const parameter = (value: object) => `$${first + parameters.push(JSON.stringify(value)) - 1}`;
  const list = (values: object) =>
    isPostgres
      ? `(SELECT json_array_elements_text(${parameter(values)}::json))`
      : `(SELECT value FROM json_each(${parameter(values)}))`;
  const routeOf = (map: object) =>
    isPostgres
      ? `COALESCE(${parameter(map)}::json->>type, '')`
      : `COALESCE((SELECT value FROM json_each(${parameter(map)}) WHERE key = type), '')`;
  const conditions: string[] = [];
  if (queues.length > 0)
    conditions.push(`AND ${routeOf(routes.orders)} || ' ' || partition_key NOT IN ${list(queues)}`);
  if (groups.length > 0) conditions.push(`AND ${routeOf(routes.groups)} NOT IN ${list(groups)}`);
  return { sql: conditions.join(' '), parameters };
}
