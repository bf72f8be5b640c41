import type { DataSource, MigrationInterface, QueryRunner } from 'typeorm';
import { beginAlone, isPostgres, repeatWhileTablesAreUsed } from './migration-lock.js';
import { assertAtHome } from './ownership.js';

/** A class as TypeORM's CLI writes it. Its name ends in a timestamp of 13 digits. */
export type MigrationClass = new () => MigrationInterface;

/** The migrations of one owner, oldest first. New ones are appended, old ones never change. */
export interface MigrationHistory {
  readonly owner: string;
  readonly migrations: readonly MigrationClass[];
}

interface NamedMigration {
  readonly name: string;
  readonly timestamp: number;
  readonly migration: MigrationInterface;
}

/** The names under which the history table lists the migrations. */
export function migrationNames(history: MigrationHistory): string[] {
  return named(history).map(({ name }) => name);
}

/** The migrations that were not applied yet, as `owner/name`. */
export async function pendingMigrations(
  dataSource: DataSource,
  histories: readonly MigrationHistory[],
): Promise<string[]> {
  const runner = dataSource.createQueryRunner();
  try {
    return await pendingOn(runner, histories);
  } finally {
    await runner.release();
  }
}

async function pendingOn(runner: QueryRunner, histories: readonly MigrationHistory[]): Promise<string[]> {
  const pending: string[] = [];
  for (const history of histories) {
    pending.push(...(await pendingOf(runner, history)).map(({ name }) => `${history.owner}/${name}`));
  }
  return pending;
}

/**
 * Applies the pending migrations, all in one transaction under a lock: several processes may start at once, and a failing
 * migration leaves the database as it was. TypeORM's own executor takes no lock. Each owner has a history table in
 * TypeORM's format, so that it can move to another database with its tables.
 * On PostgreSQL it begins anew for as long as other transactions use a table, and says so.
 * @returns the applied migrations, as `owner/name`
 */
export async function migrate(dataSource: DataSource, histories: readonly MigrationHistory[]): Promise<string[]> {
  return repeatWhileTablesAreUsed(dataSource, async (runner) =>
    (await pendingOn(runner, histories)).length === 0 ? [] : applyAll(runner, histories),
  );
}

/** As `migrate()`. @throws Error as `assertAtHome()` says */
export async function migrateAtHome(dataSource: DataSource, histories: readonly MigrationHistory[]): Promise<string[]> {
  const owners = histories.map(({ owner }) => owner);
  await repeatWhileTablesAreUsed(dataSource, (runner) => assertAtHome(runner, owners));
  return migrate(dataSource, histories);
}

async function applyAll(runner: QueryRunner, histories: readonly MigrationHistory[]): Promise<string[]> {
  try {
    await beginAlone(runner);
    const applied: string[] = [];
    for (const history of histories) applied.push(...(await apply(runner, history)));
    await runner.query('COMMIT');
    return applied;
  } catch (error) {
    // The rollback fails when the database has ended the transaction, or the connection is gone.
    await runner.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** The SQL that `migrate` would run. Runs nothing: a migration that reads rows sees none. */
export async function migrationSql(dataSource: DataSource, histories: readonly MigrationHistory[]): Promise<string[]> {
  const runner = dataSource.createQueryRunner();
  try {
    const statements: string[] = [];
    for (const history of histories) {
      const { owner } = history;
      const pending = await pendingOf(runner, history);
      if (pending.length > 0) statements.push(createHistoryTable(runner, owner));
      for (const { name, timestamp, migration } of pending) {
        statements.push(`-- ${owner}/${name}`, ...(await recordSql(runner, migration)));
        statements.push(insertIntoHistory(owner, name, timestamp));
      }
    }
    return statements.length > 0 ? ['BEGIN', ...statements, 'COMMIT'] : [];
  } finally {
    await runner.release();
  }
}

async function apply(runner: QueryRunner, history: MigrationHistory): Promise<string[]> {
  const { owner } = history;
  await runner.query(createHistoryTable(runner, owner));
  const applied: string[] = [];
  for (const { name, timestamp, migration } of await pendingOf(runner, history)) {
    await migration.up(runner);
    await runner.query(insertIntoHistory(owner, name, timestamp));
    applied.push(`${owner}/${name}`);
  }
  return applied;
}

/** Records the statements that a migration passes to `query()`, and those of TypeORM's schema methods. */
async function recordSql(runner: QueryRunner, migration: MigrationInterface): Promise<string[]> {
  runner.clearSqlMemory();
  runner.enableSqlMemory();
  const { upQueries } = runner.getMemorySql();
  type Query = (typeof upQueries)[number];
  const recorder = new Proxy(runner, {
    get(target, property) {
      if (property === 'query') return async (query: string) => void upQueries.push({ query } as Query);
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  try {
    await migration.up(recorder);
    return upQueries.map(({ query }) => query);
  } finally {
    runner.disableSqlMemory();
  }
}

async function pendingOf(runner: QueryRunner, history: MigrationHistory): Promise<NamedMigration[]> {
  const applied = await appliedNames(runner, history.owner);
  return named(history).filter(({ name }) => !applied.has(name));
}

async function appliedNames(runner: QueryRunner, owner: string): Promise<Set<string>> {
  if (!(await runner.hasTable(historyTable(owner)))) return new Set();
  const rows = (await runner.query(`SELECT name FROM ${historyTable(owner)}`)) as { name: string }[];
  return new Set(rows.map(({ name }) => name));
}

/** @throws Error when a name doesn't end in a timestamp */
function named({ owner, migrations }: MigrationHistory): NamedMigration[] {
  return migrations.map((migrationClass) => {
    const migration = new migrationClass();
    const name = migration.name ?? migrationClass.name;
    const timestamp = /\d{13}$/.exec(name)?.[0];
    if (!timestamp) throw new Error(`Migration ${name} of ${owner}: its name must end in a timestamp of 13 digits`);
    return { name, timestamp: Number(timestamp), migration };
  });
}

function createHistoryTable(runner: QueryRunner, owner: string): string {
  const id = isPostgres(runner) ? 'serial PRIMARY KEY' : 'integer PRIMARY KEY AUTOINCREMENT';
  return `CREATE TABLE IF NOT EXISTS ${historyTable(owner)} (id ${id}, timestamp bigint NOT NULL, name varchar NOT NULL UNIQUE)`;
}

function insertIntoHistory(owner: string, name: string, timestamp: number): string {
  return `INSERT INTO ${historyTable(owner)} (timestamp, name) VALUES (${timestamp}, '${name}')`;
}

/** The table in which TypeORM keeps the applied migrations of an owner. */
export function historyTable(owner: string): string {
  return `${owner}_migrations`;
}
