import { setTimeout as wait } from 'node:timers/promises';
import type { DataSource, MigrationInterface, QueryRunner } from 'typeorm';

/** The migrations of one owner, oldest first; only ever added to. Names end in a timestamp, as TypeORM's do. */
export interface MigrationHistory {
  readonly owner: string;
  readonly migrations: readonly (MigrationInterface & { readonly name: string })[];
}

/** Any number will do, as long as nobody else in this database uses it. */
const ADVISORY_LOCK = 4_117_015_261;
const LOCK_PATIENCE_MS = 60_000;

/** What hasn't been applied yet, as `owner/name`. */
export async function pendingMigrations(dataSource: DataSource, histories: MigrationHistory[]): Promise<string[]> {
  const runner = dataSource.createQueryRunner();
  try {
    const pending: string[] = [];
    for (const { owner, migrations } of histories) {
      const applied = await appliedNames(runner, owner);
      pending.push(...migrations.filter(({ name }) => !applied.has(name)).map(({ name }) => `${owner}/${name}`));
    }
    return pending;
  } finally {
    await runner.release();
  }
}

/**
 * Applies what is missing, all in one transaction under a lock: several processes may start at once, and a failing
 * migration leaves the database as it was. TypeORM's own executor takes no lock. Each owner has a history table of its
 * own, in TypeORM's format, so that it can move to another database with its tables.
 * @returns what was applied, as `owner/name`
 */
export async function migrate(dataSource: DataSource, histories: MigrationHistory[]): Promise<string[]> {
  if ((await pendingMigrations(dataSource, histories)).length === 0) return [];
  const runner = dataSource.createQueryRunner();
  try {
    await lock(runner);
    try {
      const applied: string[] = [];
      for (const history of histories) applied.push(...(await apply(runner, history)));
      await runner.query('COMMIT');
      return applied;
    } catch (error) {
      await runner.query('ROLLBACK').catch(() => undefined); // over already: the database ended it, or the connection
      throw error;
    }
  } finally {
    await runner.release();
  }
}

async function apply(runner: QueryRunner, { owner, migrations }: MigrationHistory): Promise<string[]> {
  const isPostgres = runner.dataSource.options.type === 'postgres';
  const id = isPostgres ? 'serial PRIMARY KEY' : 'integer PRIMARY KEY AUTOINCREMENT';
  await runner.query(
    `CREATE TABLE IF NOT EXISTS ${historyTable(owner)} (id ${id}, timestamp bigint NOT NULL, name varchar NOT NULL UNIQUE)`,
  );
  const known = await appliedNames(runner, owner);
  const applied: string[] = [];
  for (const migration of migrations) {
    if (known.has(migration.name)) continue;
    await migration.up(runner);
    const timestamp = Number(/\d{13}$/.exec(migration.name)?.[0]);
    await runner.query(
      `INSERT INTO ${historyTable(owner)} (timestamp, name) VALUES (${timestamp}, '${migration.name}')`,
    );
    applied.push(`${owner}/${migration.name}`);
  }
  return applied;
}

async function lock(runner: QueryRunner): Promise<void> {
  if (runner.dataSource.options.type === 'postgres') {
    await runner.query('BEGIN');
    // A migration takes the time it takes; so does waiting for somebody else's.
    await runner.query('SET LOCAL statement_timeout = 0');
    await runner.query('SET LOCAL idle_in_transaction_session_timeout = 0');
    await runner.query(`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`);
    return;
  }
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  for (;;) {
    try {
      await runner.query('BEGIN IMMEDIATE');
      return;
    } catch (error) {
      if (!/database is locked/.test(String(error)) || performance.now() > deadline) throw error;
      await wait(50);
    }
  }
}

async function appliedNames(runner: QueryRunner, owner: string): Promise<Set<string>> {
  if (!(await runner.hasTable(historyTable(owner)))) return new Set();
  const rows = (await runner.query(`SELECT name FROM ${historyTable(owner)}`)) as { name: string }[];
  return new Set(rows.map(({ name }) => name));
}

function historyTable(owner: string): string {
  return `${owner}_migrations`;
}
