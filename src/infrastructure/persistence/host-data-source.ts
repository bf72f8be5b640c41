import { DataSource, type DataSourceOptions, type MixedList, type QueryRunner } from 'typeorm';
import { noteErrorsOf } from './host-errors.js';
import type { Unit } from './unit.js';

/** The options of a data source on PostgreSQL: TypeORM 0.3 and 1.x give the type different names. */
export type PostgresDataSourceOptions = Extract<DataSourceOptions, { readonly type: 'postgres' }>;

type Class = new () => object;

/** Where the database is: `sqlite:<path>`, `postgres://…`, the options of a data source, or the data source of an application. */
export type DatabaseLocation = string | DataSourceOptions | DataSource;

/** Whether a location is a data source; another copy of TypeORM may have made it. */
export function isDataSource(location: DatabaseLocation): location is DataSource {
  return typeof location === 'object' && 'createQueryRunner' in location;
}

/** The entities of the application and those of modules, each once. */
export function entitiesOf(location: DatabaseLocation, ofModules: readonly Class[]): MixedList<Class> {
  if (typeof location === 'string') return [...ofModules];
  const options = isDataSource(location) ? location.options : location;
  const given = Object.values(options.entities ?? {}) as Class[];
  return [...new Set([...given, ...ofModules])];
}

/**
 * Lets the repositories of an application's data source take part in the open unit of work: `@InjectRepository`, also with
 * relations, subscribers and transactions of TypeORM, which become savepoints. Outside of units nothing changes, but errors of its
 * connections count as those of the database.
 */
export function joinUnits(host: DataSource, openUnit: () => Unit | undefined): void {
  const create = host.createQueryRunner.bind(host);
  host.createQueryRunner = (mode) => {
    const holder = openUnit()?.manager.queryRunner;
    return holder ? memberOf(holder as Runner) : create(mode);
  };
  noteErrorsOf(host);
}

type Runner = QueryRunner & { transactionDepth: number };

/** A query runner in the transaction of a unit, which the unit ends. It may have transactions of its own inside. */
function memberOf(holder: Runner): QueryRunner {
  const member = Object.create(holder) as Runner;
  // Its own from now on: the holder may begin a transaction, too.
  const outside = holder.transactionDepth;
  const Broadcaster = holder.broadcaster.constructor as new (runner: QueryRunner) => QueryRunner['broadcaster'];
  return Object.assign(member, {
    transactionDepth: outside,
    broadcaster: new Broadcaster(member),
    manager: holder.manager.connection.createEntityManager(member),
    // For TypeORM a transaction is active, so code that asks `isTransactionActive` before it calls this does call it.
    rollbackTransaction: async () => {
      if (member.transactionDepth > outside) await holder.rollbackTransaction.call(member);
    },
    release: async () => undefined,
    [Symbol.asyncDispose]: async () => {
      while (member.transactionDepth > outside) await member.commitTransaction();
    },
  });
}
