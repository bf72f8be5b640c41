import { setTimeout as wait } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import { migrate, type MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { PostgresSql } from '../../src/infrastructure/persistence/postgres/postgres-sql.js';
import { BATCH, inUse, type Column, type ModuleRows, type Location, type Value } from './location.js';

/** Longest wait for a lock on a table; a backup may be reading it. */
const LOCK_TIMEOUT = '5s';
/** How long the connections of a stopped process may remain listed, in ms. */
const DISCONNECT_TIMEOUT_MS = 2000;

/** A PostgreSQL database. Other processes of the mesh are found by their application_name, or wait for a lock. */
export class PostgresLocation extends PostgresSql implements Location {
  private client: PoolClient;

  private constructor(
    private readonly dataSource: DataSource,
    private runner: QueryRunner,
    readonly address: string,
  ) {
    super((config) => this.client.query(config));
  }

  static async open(dataSource: DataSource, address: string): Promise<PostgresLocation> {
    const location = new PostgresLocation(dataSource, dataSource.createQueryRunner(), address);
    await location.connect();
    return location;
  }

  private async connect(): Promise<void> {
    this.client = (await this.runner.connect()) as PoolClient;
  }

  async identity(): Promise<string> {
    const [row] = await this.all<{ identity: string }>(
      `SELECT pg_postmaster_start_time() || '/' || oid AS identity FROM pg_database WHERE datname = current_database()`,
    );
    return row!.identity;
  }

  async begin(): Promise<void> {
    await this.run('BEGIN');
    // The timeouts are meant for units of work; an extraction takes longer.
    await this.run('SET LOCAL statement_timeout = 0');
    await this.run('SET LOCAL idle_in_transaction_session_timeout = 0');
  }

  async commit(): Promise<void> {
    await this.run('COMMIT');
  }

  async lock(tables: readonly string[]): Promise<void> {
    // A closed connection stays listed until its server process ends. Wait before taking locks, not while holding them.
    for (
      const began = performance.now();
      (await this.otherConnections()) > 0 && performance.now() - began < DISCONNECT_TIMEOUT_MS;
    ) {
      await wait(50);
    }
    if (tables.length > 0) {
      await this.run(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
      await this.run(`LOCK TABLE ${tables.join(', ')} IN ACCESS EXCLUSIVE MODE`).catch(
        (error: Error & { code?: string }) => {
          throw error.code === '55P03' ? inUse(this.address) : error;
        },
      );
    }
    // Check last: a process that connects from now on waits for the lock on mesh_module first.
    if ((await this.otherConnections()) > 0) throw inUse(this.address);
  }

  /** @returns the number of connections of other processes of the mesh */
  private async otherConnections(): Promise<number> {
    // Within a transaction, PostgreSQL caches the first snapshot of the list.
    await this.run('SELECT pg_stat_clear_snapshot()');
    const rows = await this.all(
      `SELECT pid FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'mesh' AND pid <> pg_backend_pid()`,
    );
    return rows.length;
  }

  async migrate(histories: MigrationHistory[]): Promise<string[]> {
    // The pool has one connection, and migrate() needs it.
    await this.runner.release();
    const applied = await migrate(this.dataSource, histories);
    this.runner = this.dataSource.createQueryRunner();
    await this.connect();
    return applied;
  }

  async tables(prefix: string): Promise<string[]> {
    const rows = await this.all<{ name: string }>(
      `SELECT relname AS name FROM pg_class
       WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace AND starts_with(relname, $1)
       ORDER BY oid`,
      [prefix],
    );
    return rows.map(({ name }) => name);
  }

  async columns(table: string): Promise<Column[]> {
    return this.all<Column>(
      `SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
       WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`,
      [table],
    );
  }

  async *batches({ table, where, order }: ModuleRows, columns: readonly Column[]): AsyncIterable<Value[][]> {
    const texts = columns.map(({ name, type }) => (type === 'boolean' ? `"${name}"::int::text` : `"${name}"::text`));
    const sorted = order ? `ORDER BY ${order}` : '';
    await this.client.query(
      `DECLARE batch NO SCROLL CURSOR FOR SELECT ${texts.join(', ')} FROM ${table} WHERE ${where} ${sorted}`,
    );
    for (;;) {
      const { rows } = await this.client.query<Value[]>({ text: `FETCH ${BATCH} FROM batch`, rowMode: 'array' });
      if (rows.length > 0) yield rows;
      if (rows.length < BATCH) break;
    }
    await this.client.query('CLOSE batch');
  }

  async insert(table: string, columns: readonly Column[], rows: readonly Value[][]): Promise<void> {
    const names = columns.map(({ name }) => `"${name}"`).join(', ');
    const values = columns.map(({ type }, index) => `(it->>${index})::${type}`).join(', ');
    const json = JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    await this.run(
      `INSERT INTO ${table} (${names}) OVERRIDING SYSTEM VALUE
       SELECT ${values} FROM json_array_elements($1::json) WITH ORDINALITY AS row(it, position) ORDER BY position
       ON CONFLICT DO NOTHING`,
      [json],
    );
  }

  async lastNumber(table: string, column: string): Promise<string | undefined> {
    const [row] = await this.all<{ last: string | null }>(
      'SELECT pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass) AS last',
      [table, column],
    );
    return row?.last ?? undefined;
  }

  async continueNumbers(table: string, other: Location): Promise<void> {
    for (const { name } of await this.columns(table)) {
      const sequence = 'pg_get_serial_sequence($1, $2)';
      const [numbered] = await this.all<{ sequence: string | null }>(`SELECT ${sequence} AS sequence`, [table, name]);
      if (!numbered?.sequence) continue;
      const last = (await other.lastNumber(table, name)) ?? '0';
      await this.all(
        `SELECT setval(${sequence}, last) FROM (SELECT GREATEST(MAX("${name}"), $3::bigint) AS last FROM ${table}) AS numbers
         WHERE last > 0`,
        [table, name, last],
      );
    }
  }

  async close(): Promise<void> {
    await this.run('ROLLBACK').catch(() => undefined); // no transaction is open, or the connection is closed
    await this.runner.release();
    await this.dataSource.destroy();
  }
}
