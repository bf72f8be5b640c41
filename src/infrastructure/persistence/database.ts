import { setTimeout as wait } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import type { DataSource } from 'typeorm';
import { connect, poolOf } from './connect.js';
import { connectionOptions, dataSourceOptions, READ_LIMIT_MS } from './data-source-options.js';
import { entitiesOf, isDataSource, type DatabaseLocation } from './host-data-source.js';
import { noLock, PostgresLock, type Lock } from './lock.js';
import { migrateAtHome, pendingMigrations, type MigrationHistory } from './migrate.js';
import type { OldSnapshot } from './old-snapshot.js';
import { assertAtHome } from './ownership.js';
import { AbandonedSessions, unguarded } from './postgres/abandoned-sessions.js';
import { assertVisible } from './postgres/hidden-tables.js';
import { oldestSnapshot } from './postgres/old-snapshots.js';
import { PostgresEngine } from './postgres/postgres-engine.js';
import { PostgresSql } from './postgres/postgres-sql.js';
import type { SessionConfig } from './postgres/session.js';
import { ServerFaults } from './postgres/server-faults.js';
import { assertUsable } from './postgres/server-checks.js';
import { repeatStale } from './postgres/stale-statements.js';
import { destroySocket, limitInactivity } from './postgres/timeouts.js';
import type { DatabaseUnavailable, Dialect, Sql } from './sql.js';
import { Damage } from './sqlite/damage.js';
import { LogReaders } from './sqlite/log-readers.js';
import { SqliteEngine } from './sqlite/sqlite-engine.js';
import { sqliteConnection, SqliteStatements } from './sqlite/sqlite-statements.js';
import type { UnitEngine } from './unit.js';

export interface DatabaseOptions {
  readonly database: DatabaseLocation;
  /** The entities of the modules. */
  readonly entities: readonly (new () => object)[];
  readonly histories: MigrationHistory[];
  /** Apply missing migrations when opening; otherwise a missing one is an error. */
  readonly migrate: boolean;
  /** Connections to PostgreSQL that may write at a time; as many may read. */
  readonly poolSize?: number;
  /** Units of messages that run on SQLite for each waiting request, under load. */
  readonly messagesPerRequest?: number;
}

const DEFAULT_POOL_SIZE = 10;
const DEFAULT_MESSAGES_PER_REQUEST = 12;
/** A server that hasn't responded to a reading statement by then is gone, in ms. */
const READ_TIMEOUT_MS = READ_LIMIT_MS + 1000;
/** When closing, connections that are still in use are destroyed after this time, in ms. */
const CLOSE_TIMEOUT_MS = 1000;

/**
 * The connections of this process: one side that writes, in units of work only, and one that only reads. These are two
 * connections on SQLite and two pools on PostgreSQL. The reading side never sees uncommitted data.
 */
export class Database {
  readonly dialect: Dialect;
  readonly engine: UnitEngine;
  /** Plain statements on the reading side. */
  readonly read: Sql;
  /** The oldest transaction of another session or process, when it is old. */
  readonly oldSnapshot: () => Promise<OldSnapshot | undefined>;
  private readonly abandoned: readonly AbandonedSessions[] = [];
  private readonly damaged = new Damage();
  private readonly faults = new ServerFaults();
  /** The connections that the pools have opened. */
  private readonly clients = new Set<PoolClient>();

  private constructor(
    private readonly writer: DataSource,
    /** The reading side; a write through it fails. */
    readonly reader: DataSource,
    messagesPerRequest: number,
  ) {
    if (writer.options.type === 'postgres') {
      this.dialect = 'postgres';
      const pool = poolOf(reader);
      this.read = new PostgresSql((query) => repeatStale(pool.options.max, () => pool.query(query)));
      const ending = unguarded(pool);
      const written = new AbandonedSessions(poolOf(writer), ending);
      const read = new AbandonedSessions(pool, ending);
      this.abandoned = [written, read];
      this.engine = new PostgresEngine(writer, written, this.faults);
      this.oldSnapshot = () => oldestSnapshot(this.read);
      limitInactivity(pool, READ_TIMEOUT_MS, (client) => void read.add(client));
      read.guard();
      for (const it of [pool, poolOf(writer)]) {
        this.faults.watch(it);
        it.on('acquire', (client) => this.clients.add(client));
        it.on('remove', (client) => this.clients.delete(client));
      }
    } else {
      this.dialect = 'sqlite';
      for (const it of [writer, reader]) this.damaged.watch(sqliteConnection(it));
      this.engine = new SqliteEngine(writer, messagesPerRequest);
      this.read = new SqliteStatements(sqliteConnection(reader));
      const readers = new LogReaders(sqliteConnection(writer).name);
      this.oldSnapshot = async () => readers.find();
    }
  }

  /** @throws Error when the database can't be opened, or lacks migrations that it may not apply itself */
  static async open(options: DatabaseOptions): Promise<Database> {
    const { database, entities, histories, poolSize = DEFAULT_POOL_SIZE, messagesPerRequest } = options;
    const { writer: writing, reader: reading } = await connectionOptions(
      { ...dataSourceOptions(database), entities: entitiesOf(database, entities), synchronize: false, logging: false },
      poolSize,
    );
    const writer = await connect(writing);
    let reader: DataSource | undefined;
    try {
      if (writer.options.type === 'postgres') await assertUsable(sessionConfig(writer));
      if (options.migrate) await migrateAtHome(writer, histories);
      else await assertMigrated(writer, histories);
      reader = await connect(reading);
      // Those of Nest register themselves at the data source of the application.
      if (isDataSource(database)) Object.assign(writer, { subscribers: database.subscribers });
      return new Database(writer, reader, messagesPerRequest ?? DEFAULT_MESSAGES_PER_REQUEST);
    } catch (error) {
      await reader?.destroy();
      await writer.destroy();
      throw error;
    }
  }

  /** Damage that SQLite has found in its file, or a fault that PostgreSQL showed in the last seconds, if any. */
  get damage(): DatabaseUnavailable | undefined {
    return this.damaged.found ?? this.faults.found;
  }

  /** A lock that one process on this database holds at a time. */
  lock(name: string): Lock {
    const { postgres } = this;
    return postgres ? new PostgresLock(postgres, name) : noLock;
  }

  /** How to open one more connection; undefined on SQLite. */
  get postgres(): SessionConfig | undefined {
    if (this.dialect === 'sqlite') return undefined;
    return sessionConfig(this.writer);
  }

  /** The schema of the mesh's tables on PostgreSQL, for connections with another search path. */
  get schema(): string | undefined {
    return this.writer.driver.schema;
  }

  /** Closes all connections. Those in use are destroyed after a second; those being opened are not waited for. */
  async close(): Promise<void> {
    this.abandoned.forEach((it) => it.close());
    const closed = Promise.all([this.reader.destroy(), this.writer.destroy()]);
    if (this.clients.size === 0) return void (await closed);
    // Unreferenced: open sockets keep the process alive as long as there is something to destroy.
    const pause = () => wait(CLOSE_TIMEOUT_MS, undefined, { ref: false });
    const late = pause().then(() => {
      // Also when the pools are closed: the server may not have answered the end of a connection.
      this.clients.forEach(destroySocket);
      return pause();
    });
    await Promise.race([closed, late]);
  }
}

/** Applies what is missing in the database at `location`, and closes it again. @returns the applied migrations */
export async function migrateDatabase(location: DatabaseLocation, histories: MigrationHistory[]): Promise<string[]> {
  // The second connection finds out for whom the migrations wait.
  const dataSource = await connectTo(location, 2);
  try {
    return await migrateAtHome(dataSource, histories);
  } finally {
    await dataSource.destroy();
  }
}

/** Connections that may write outside of units of work, for tools that maintain the database itself. */
export async function connectTo(location: DatabaseLocation, poolSize = 1): Promise<DataSource> {
  return connect((await connectionOptions(dataSourceOptions(location), poolSize)).writer);
}

async function assertMigrated(dataSource: DataSource, histories: MigrationHistory[]): Promise<void> {
  await assertAtHome(
    dataSource,
    histories.map(({ owner }) => owner),
  );
  const pending = await pendingMigrations(dataSource, histories);
  if (pending.length === 0) return;
  await assertVisible(dataSource, histories, pending);
  throw new Error(
    `The database lacks migrations; apply them first (npm run migrate, or npx meshy migrate): ${pending.join(', ')}`,
  );
}

function sessionConfig(dataSource: DataSource): SessionConfig {
  const { options } = poolOf(dataSource);
  const { Client } = options as unknown as SessionConfig;
  // The pool hides the password from logs, and so from a copy of its options.
  return { ...options, password: options.password, Client };
}
