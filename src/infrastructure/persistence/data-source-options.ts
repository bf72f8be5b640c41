import { DefaultNamingStrategy, type DataSourceOptions } from 'typeorm';
import { addressProblem } from './database-address.js';
import { isDataSource, type DatabaseLocation, type PostgresDataSourceOptions } from './host-data-source.js';
import { OPEN_TIMEOUT_MS, sessionClient, type SessionSettings } from './postgres/session.js';
import { STATEMENT_LIMIT_MS } from './postgres/timeouts.js';
import { UNIT_LIMIT_MS } from './sql.js';
import { sqliteDriver } from './sqlite/sqlite-driver.js';

/** How long SQLite waits for a lock before it answers busy, in ms; the process stands still meanwhile. */
const BUSY_TIMEOUT_MS = 20;
/**
 * Pages of 4 KiB in the write-ahead log before a COMMIT copies them into the database file: four times SQLite's default, so
 * that a page which changes often is copied more rarely.
 */
const MAX_LOG_PAGES = 4000;
/** What the file of the write-ahead log keeps when its pages have been copied. */
const MAX_LOG_BYTES = 64 * 1024 * 1024;
/** PostgreSQL ends a reading statement after this time, in ms. */
export const READ_LIMIT_MS = 5000;
/** TCP probes a connection that has been idle for this time, in ms. */
const KEEP_ALIVE_MS = 10_000;

/**
 * The address of a database as options of TypeORM.
 * @throws Error as `addressProblem()` says
 */
export function dataSourceOptions(location: DatabaseLocation): DataSourceOptions {
  if (typeof location !== 'string') {
    const options = isDataSource(location) ? location.options : location;
    if (options.type === 'better-sqlite3') assertAddress(`sqlite:${options.database}`);
    // The mesh never changes the schema or runs the migrations of an application that lends it its options.
    const ours = { synchronize: false, dropSchema: false, migrationsRun: false, migrations: [] };
    return { ...options, ...primaryOf(options), ...ours } as DataSourceOptions;
  }
  assertAddress(location);
  const namingStrategy = new SnakeCase();
  if (/^postgres(ql)?:\/\//.test(location)) return { type: 'postgres', url: location, namingStrategy };
  return {
    type: 'better-sqlite3',
    database: location.slice('sqlite:'.length),
    namingStrategy,
    timeout: BUSY_TIMEOUT_MS,
  };
}

/** Replicas of PostgreSQL lag behind, so the mesh works on the primary alone. */
function primaryOf(options: DataSourceOptions): Partial<PostgresDataSourceOptions> {
  if (options.type !== 'postgres' || !options.replication) return {};
  return { ...options.replication.master, replication: undefined };
}

function assertAddress(location: string): void {
  const problem = addressProblem(location);
  if (problem) throw new Error(`The address of the database: ${problem}`);
}

/** The options of the connections that write, and of those that only read. */
export async function connectionOptions(
  options: DataSourceOptions,
  poolSize: number,
): Promise<{ writer: DataSourceOptions; reader: DataSourceOptions }> {
  if (options.type === 'postgres') {
    const extra = options.extra as { max?: number } | undefined;
    const connection = async (settings: SessionSettings): Promise<DataSourceOptions> => ({
      ...options,
      poolSize,
      extra: {
        ...extra,
        max: Math.min(poolSize, extra?.max ?? poolSize),
        application_name: 'mesh',
        connectionTimeoutMillis: OPEN_TIMEOUT_MS,
        keepAlive: true,
        keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
        Client: await sessionClient(settings, options.schema),
      },
    });
    // The server ends a statement that hangs, and the transaction of a process that has stopped.
    const idle_in_transaction_session_timeout = String(5 * UNIT_LIMIT_MS);
    // Of units that wait for each other, one gives up and runs again, before the server would look for deadlocks. They
    // seldom give up at the same time.
    const lock_timeout = String(Math.round(UNIT_LIMIT_MS * (0.3 + 0.3 * Math.random())));
    const statement_timeout = String(STATEMENT_LIMIT_MS);
    const writing = { statement_timeout, lock_timeout, idle_in_transaction_session_timeout };
    const reading = { statement_timeout: String(READ_LIMIT_MS), default_transaction_read_only: 'on' };
    return { writer: await connection(writing), reader: await connection({ ...writing, ...reading }) };
  }
  if (options.type === 'better-sqlite3') {
    const prepareDatabase = (db: { pragma(text: string): unknown }) => {
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
      // Statement journals, for rolling savepoints back, need not survive the process: the WAL does.
      db.pragma('temp_store = MEMORY');
      db.pragma(`wal_autocheckpoint = ${MAX_LOG_PAGES}`);
      // After a time when a reader kept the log from being reused, its file becomes small again.
      db.pragma(`journal_size_limit = ${MAX_LOG_BYTES}`);
    };
    const driver: unknown = options.driver ?? (await sqliteDriver());
    return {
      writer: { ...options, driver, timeout: BUSY_TIMEOUT_MS, prepareDatabase },
      reader: { ...options, driver, timeout: BUSY_TIMEOUT_MS, readonly: true, fileMustExist: true },
    };
  }
  throw new Error(`The mesh supports the TypeORM drivers better-sqlite3 and postgres, got "${options.type}"`);
}

/** Columns in snake case, so that plain SQL needs no quotes on PostgreSQL. */
export class SnakeCase extends DefaultNamingStrategy {
  override columnName(property: string, custom: string, prefixes: string[]): string {
    return custom || snakeCase([...prefixes, property].join('_'));
  }
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
