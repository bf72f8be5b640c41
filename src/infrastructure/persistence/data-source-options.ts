import { DefaultNamingStrategy, type DataSourceOptions } from 'typeorm';
import { STATEMENT_LIMIT_MS } from './postgres/timeouts.js';
import { UNIT_LIMIT_MS } from './sql.js';

/** How long SQLite waits for a lock before it answers busy, in ms; the process stands still meanwhile. */
const BUSY_TIMEOUT_MS = 20;
/** PostgreSQL ends a reading statement after this time, in ms. */
export const READ_LIMIT_MS = 5000;
/** TCP probes a connection that has been idle for this time, in ms. */
const KEEP_ALIVE_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5000;

/**
 * The address of a database as options of TypeORM.
 * @throws Error when it is neither `sqlite:<path of a file>` nor `postgres://…`
 */
export function dataSourceOptions(location: string | DataSourceOptions): DataSourceOptions {
  if (typeof location !== 'string') {
    if (location.type === 'better-sqlite3' && /^(:memory:)?$/.test(location.database))
      throw notAFile(location.database);
    // The mesh never changes the schema or runs the migrations of an application that lends it its options.
    return { ...location, synchronize: false, dropSchema: false, migrationsRun: false, migrations: [] };
  }
  const namingStrategy = new SnakeCase();
  if (/^postgres(ql)?:\/\//.test(location)) return { type: 'postgres', url: location, namingStrategy };
  const path = /^sqlite:(?!:memory:$)(.+)$/.exec(location)?.[1];
  if (path) return { type: 'better-sqlite3', database: path, namingStrategy, timeout: BUSY_TIMEOUT_MS };
  throw notAFile(location);
}

/** A database in memory can't be opened twice, and doesn't survive a restart. */
function notAFile(location: string): Error {
  return new Error(`A database is sqlite:<path of a file> or postgres://…, got "${location}"`);
}

/** The options of the connections that write, and of those that only read. */
export function connectionOptions(
  options: DataSourceOptions,
  poolSize: number,
): { writer: DataSourceOptions; reader: DataSourceOptions } {
  if (options.type === 'postgres') {
    const connection = (settings: string): DataSourceOptions => ({
      ...options,
      poolSize,
      extra: {
        ...(options.extra as object | undefined),
        application_name: 'mesh',
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        keepAlive: true,
        keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
        options: settings,
      },
    });
    // The server ends a statement that hangs, and the transaction of a process that has stopped.
    const writerLimits = `-c statement_timeout=${STATEMENT_LIMIT_MS} -c idle_in_transaction_session_timeout=${5 * UNIT_LIMIT_MS}`;
    const readerLimits = `-c default_transaction_read_only=on -c statement_timeout=${READ_LIMIT_MS}`;
    return { writer: connection(writerLimits), reader: connection(readerLimits) };
  }
  if (options.type === 'better-sqlite3') {
    const prepareDatabase = (db: { pragma(text: string): unknown }) => {
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
      // Statement journals, for rolling savepoints back, need not survive the process: the WAL does.
      db.pragma('temp_store = MEMORY');
    };
    return {
      writer: { ...options, timeout: BUSY_TIMEOUT_MS, prepareDatabase },
      reader: { ...options, timeout: BUSY_TIMEOUT_MS, readonly: true, fileMustExist: true },
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
