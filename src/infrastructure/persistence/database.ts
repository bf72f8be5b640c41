import { setTimeout as wait } from 'node:timers/promises';
import type { ClientConfig, Pool, PoolClient } from 'pg';
import { DataSource, DefaultNamingStrategy, type DataSourceOptions, type MixedList } from 'typeorm';
import { noLock, PostgresLock, type Lock } from './lock.js';
import { migrate, pendingMigrations, type MigrationHistory } from './migrate.js';
import { assertAtHome } from './ownership.js';
import { PostgresEngine, PostgresSql } from './postgres/postgres-engine.js';
import { destroySocket, limitInactivity, STATEMENT_LIMIT_MS } from './postgres/timeouts.js';
import { UNIT_LIMIT_MS, type Dialect, type Sql } from './sql.js';
import { SqliteEngine } from './sqlite/sqlite-engine.js';
import { isBusy, sqliteConnection, SqliteStatements } from './sqlite/sqlite-statements.js';
import type { UnitEngine } from './unit.js';

export interface DatabaseOptions {
  /** Where the database is: `sqlite:<path>`, `postgres://…`, or the options of a data source that you have already. */
  readonly database: string | DataSourceOptions;
  readonly entities: MixedList<new () => object>;
  readonly histories: MigrationHistory[];
  /** Apply missing migrations when opening; otherwise a missing one is an error. */
  readonly migrate: boolean;
  /** Connections to PostgreSQL that may write at the same time; 10 unless told. */
  readonly poolSize?: number;
}

/** SQLite waits this long for a lock before it says busy, in ms; the process stands still meanwhile. */
const BUSY_TIMEOUT_MS = 20;
/** PostgreSQL ends a statement that reads after so long, in ms; whoever hasn't answered a little later isn't there. */
const READ_LIMIT_MS = 5000;
const READ_ANSWER_MS = READ_LIMIT_MS + 1000;
/** A connection that nobody has used for so long is asked by TCP whether the other side still exists; in ms. */
const KEEP_ALIVE_MS = 10_000;
/** What is still under way when everything is closed is cut off after so long, in ms. */
const CLOSING_MS = 1000;

/**
 * The connections of this process: one side that writes, in units of work only, and one that can only read. On SQLite
 * these are two connections, on PostgreSQL two pools; the reading side never sees what is not committed.
 */
export class Database {
  readonly dialect: Dialect;
  readonly engine: UnitEngine;
  /** Plain statements on the reading side. */
  readonly read: Sql;
  /** Connections of the pools that have been used. */
  private readonly clients = new Set<PoolClient>();

  private constructor(
    private readonly writer: DataSource,
    /** The reading side; a write through it fails. */
    readonly reader: DataSource,
  ) {
    if (writer.options.type === 'postgres') {
      this.dialect = 'postgres';
      this.engine = new PostgresEngine(writer);
      const pool = poolOf(reader);
      this.read = new PostgresSql((config) => pool.query(config));
      limitInactivity(pool, READ_ANSWER_MS);
      for (const it of [pool, poolOf(writer)]) {
        it.on('acquire', (client) => this.clients.add(client));
        it.on('remove', (client) => this.clients.delete(client));
      }
    } else {
      this.dialect = 'sqlite';
      this.engine = new SqliteEngine(writer);
      this.read = new SqliteStatements(sqliteConnection(reader));
    }
  }

  /** @throws Error when the database can't be opened, or lacks migrations that it may not apply itself */
  static async open(options: DatabaseOptions): Promise<Database> {
    const common = { entities: options.entities, synchronize: false, logging: false };
    const [writing, reading] = connections(
      { ...dataSourceOptions(options.database), ...common },
      {
        poolSize: options.poolSize ?? 10,
      },
    );
    const writer = await connected(writing);
    let reader: DataSource | undefined;
    try {
      await assertAtHome(writer, ownersOf(options.histories));
      if (options.migrate) {
        await migrate(writer, options.histories);
      } else {
        const pending = await pendingMigrations(writer, options.histories);
        if (pending.length > 0) {
          throw new Error(`The database lacks migrations; apply them first (npm run migrate): ${pending.join(', ')}`);
        }
      }
      reader = await connected(reading);
      return new Database(writer, reader);
    } catch (error) {
      await reader?.destroy();
      await writer.destroy();
      throw error;
    }
  }

  /** A right that one process on this database has at a time; a SQLite file has one process anyway. */
  lock(name: string): Lock {
    const { postgres } = this;
    return postgres ? new PostgresLock(postgres, name) : noLock;
  }

  /** How to connect once more, for what has a connection of its own; undefined on SQLite. */
  get postgres(): ClientConfig | undefined {
    if (this.dialect === 'sqlite') return undefined;
    const { options } = poolOf(this.writer);
    // The pool hides the password from logs, and so from copies, too; a key for TLS stays in an object of its own.
    return { ...options, password: options.password };
  }

  /** Whatever is still under way is cut off after a second, and what is only being connected isn't waited for. */
  async close(): Promise<void> {
    const closed = Promise.all([this.reader.destroy(), this.writer.destroy()]);
    if (this.clients.size === 0) return void (await closed);
    // As long as there is something to cut off, that keeps the process alive, and the clock of this need not.
    const pause = () => wait(CLOSING_MS, undefined, { ref: false });
    const late = pause().then(() => {
      // Also when the pools are closed: some connections may wait for the other side to say goodbye.
      this.clients.forEach(destroySocket);
      return pause();
    });
    await Promise.race([closed, late]);
  }
}

/** Applies what is missing in the database at `location`, and closes it again. @returns what was applied */
export async function migrateDatabase(
  location: string | DataSourceOptions,
  histories: MigrationHistory[],
): Promise<string[]> {
  const dataSource = await connectTo(location);
  try {
    await assertAtHome(dataSource, ownersOf(histories));
    return await migrate(dataSource, histories);
  } finally {
    await dataSource.destroy();
  }
}

/** One connection that may write, past units of work: for whoever looks after the database itself. */
export async function connectTo(location: string | DataSourceOptions): Promise<DataSource> {
  const [writing] = connections(dataSourceOptions(location), { poolSize: 1 });
  return connected(writing);
}

function poolOf(dataSource: DataSource): Pool {
  return (dataSource.driver as unknown as { master: Pool }).master;
}

function ownersOf(histories: readonly MigrationHistory[]): string[] {
  return histories.map(({ owner }) => owner);
}

/**
 * Where a database is, in TypeORM's words.
 * @throws Error when it is neither `sqlite:<path of a file>` nor `postgres://…`
 */
function dataSourceOptions(location: string | DataSourceOptions): DataSourceOptions {
  if (typeof location !== 'string') {
    if (location.type === 'better-sqlite3' && /^(:memory:)?$/.test(location.database))
      throw notOnDisk(location.database);
    // Whoever lends us their options keeps their schema to themselves; where they are and how they name columns is ours.
    return { ...location, ...{ synchronize: false, dropSchema: false, migrationsRun: false, migrations: [] } };
  }
  const namingStrategy = new SnakeCase();
  if (/^postgres(ql)?:\/\//.test(location)) return { type: 'postgres', url: location, namingStrategy };
  const path = /^sqlite:(?!:memory:$)(.+)$/.exec(location)?.[1];
  if (path) return { type: 'better-sqlite3', database: path, namingStrategy, ...sqliteDefaults };
  throw notOnDisk(location);
}

/** A database in memory can't be opened twice, and holds nothing over a restart. */
function notOnDisk(location: string): Error {
  return new Error(`A database is sqlite:<path of a file> or postgres://…, not ${location}`);
}

const sqliteDefaults = { timeout: BUSY_TIMEOUT_MS };

/** The options of the writing and of the reading side. */
function connections(
  options: DataSourceOptions,
  { poolSize }: { poolSize: number },
): [DataSourceOptions, DataSourceOptions] {
  if (options.type === 'postgres') {
    const extra = (settings: string) => ({
      ...(options.extra as object | undefined),
      application_name: 'mesh',
      connectionTimeoutMillis: 5000,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      options: settings,
    });
    // The server ends by itself what the fence can only cut off: a statement that hangs, a unit whose process stopped.
    const limits = `-c statement_timeout=${STATEMENT_LIMIT_MS} -c idle_in_transaction_session_timeout=${5 * UNIT_LIMIT_MS}`;
    return [
      { ...options, poolSize, extra: extra(limits) },
      {
        ...options,
        poolSize,
        extra: extra(`-c default_transaction_read_only=on -c statement_timeout=${READ_LIMIT_MS}`),
      },
    ];
  }
  if (options.type === 'better-sqlite3') {
    const pragmas = (db: { pragma(text: string): unknown }) => {
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
      // What a savepoint would have to restore, page by page: it need not outlive the process, as the log does.
      db.pragma('temp_store = MEMORY');
    };
    return [
      { ...options, ...sqliteDefaults, prepareDatabase: pragmas },
      { ...options, ...sqliteDefaults, readonly: true, fileMustExist: true },
    ];
  }
  throw new Error(`The mesh lives in better-sqlite3 or postgres, not in ${options.type}`);
}

/** Columns in snake case, so that plain SQL needs no quotes on PostgreSQL. */
export class SnakeCase extends DefaultNamingStrategy {
  override columnName(property: string, custom: string, prefixes: string[]): string {
    return custom || snake([...prefixes, property].join('_'));
  }
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Opens a connection. SQLite refuses one while another connection turns the write-ahead log on. */
async function connected(options: DataSourceOptions): Promise<DataSource> {
  for (let tries = 1; ; tries++) {
    try {
      return await new DataSource(options).initialize();
    } catch (error) {
      if (!isBusy(error) || tries > 50) throw error;
      await wait(20);
    }
  }
}
