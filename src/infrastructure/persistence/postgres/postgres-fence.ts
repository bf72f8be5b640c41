import type { ClientBase } from 'pg';
import { QueryFailedError, type DataSource, type QueryRunner } from 'typeorm';
import { UnitEnded } from '../sql.js';
import type { Unit } from '../unit.js';
import { assertKeepsTransaction } from '../transaction-control.js';
import type { OpenStreams, Submittable } from './open-streams.js';
import { pipeline } from './postgres-transactions.js';
import { FrequentStatements } from './postgres-sql.js';
import type { StatementClock } from './statement-clock.js';

export type FencedConnection = Pick<ClientBase, 'query'>;

const frequent = new FrequentStatements();

/** The connection, for as long as the unit is open. `clock` measures its statements. */
export function fencedConnection(
  client: ClientBase,
  unit: Unit,
  clock: StatementClock,
  streams: OpenStreams,
): FencedConnection {
  const query = (...parameters: Parameters<ClientBase['query']>) => {
    unit.assertOpen();
    const [text, values, ...rest] = parameters as unknown[];
    assertKeepsTransaction(typeof text === 'string' ? text : (text as { text?: unknown } | null)?.text);
    // A cursor keeps its portal open over several round trips, which a pipeline can't.
    if (isSubmittable(text) && !clock.isWaiting) pipeline(client, false);
    if (isSubmittable(text)) streams.add(text);
    const isPlain = typeof text === 'string' && Array.isArray(values) && values.length > 0 && rest.length === 0;
    const named = isPlain ? frequent.named(text, values) : undefined;
    const answer: unknown = named ? client.query(named) : client.query(...parameters);
    if (answer instanceof Promise) clock.add(answer);
    return answer;
  };
  return { query: query as ClientBase['query'] };
}

function isSubmittable(statement: unknown): statement is Submittable {
  return typeof (statement as { submit?: unknown } | null)?.submit === 'function';
}

/**
 * The query runner of one unit for TypeORM. Late statements are refused at the connection, because TypeORM awaits other
 * things before it sends a statement.
 */
export function fencedRunner(
  dataSource: DataSource,
  unit: Unit,
  holder: QueryRunner,
  connection: FencedConnection,
): QueryRunner {
  const runner = Object.create(holder) as QueryRunner & Record<string, unknown>;
  const Broadcaster = holder.broadcaster.constructor as new (runner: QueryRunner) => QueryRunner['broadcaster'];
  return Object.assign(runner, {
    // The holder is released with the unit: a late caller should get the error of the unit, not of the holder.
    isReleased: false,
    connect: async () => connection,
    broadcaster: new Broadcaster(runner),
    manager: dataSource.createEntityManager(runner),
    // `this` is this runner, or one of an application's data source, which inherits from it.
    query: async function (this: QueryRunner, statement: string, ...rest: unknown[]) {
      unit.assertOpen();
      try {
        return await unit.savepoints.send<unknown>(this, statement, (text) =>
          holder.query.call(this, text, ...(rest as [])),
        );
      } catch (error) {
        throw error instanceof QueryFailedError && error.driverError instanceof UnitEnded ? error.driverError : error;
      }
    },
  });
}
