import { setTimeout as wait } from 'node:timers/promises';

import type { DataSource, QueryRunner } from 'typeorm';
import { isConflict } from './sql.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** Key of the advisory lock on PostgreSQL. */
const ADVISORY_LOCK = 4_117_015_261;
/** How long to wait for another process that migrates the same SQLite file. */
const LOCK_TIMEOUT_MS = 60_000;
/** On PostgreSQL a migration that waits for a table makes every statement behind it wait as well: it waits this long, in ms. */
const TABLE_LOCK_TIMEOUT_MS = 300;
/** The others run for this long before the next attempt, in ms. */
const TABLE_LOCK_PAUSE_MS = 2000;
/** Attempts are made for this long, in ms: a migration may have to wait for a dump. */
const MAX_ATTEMPTS_MS = 3_600_000;

const logger = new MeshLogger('Migrations');

/** Begins a transaction that excludes other processes that migrate. */
export async function beginAlone(runner: QueryRunner): Promise<void> {
  if (isPostgres(runner)) {
    await runner.query('BEGIN');
    // A migration may take longer than a unit of work, and so may the wait for another process's migrations.
    await runner.query('SET LOCAL statement_timeout = 0');
    await runner.query('SET LOCAL lock_timeout = 0');
    await runner.query('SET LOCAL idle_in_transaction_session_timeout = 0');
    await runner.query(`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`);
    await runner.query(`SET LOCAL lock_timeout = ${TABLE_LOCK_TIMEOUT_MS}`);
    return;
  }
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
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

/**
 * On PostgreSQL, runs a migrating transaction again for as long as it meets tables that others use, and says so.
 * @throws what `attempt` throws, and its last error after an hour
 */
export async function repeatWhileTablesAreUsed<T>(dataSource: DataSource, attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + MAX_ATTEMPTS_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isConflict(error) || performance.now() > deadline) throw error;
      const oldest = await oldestTransaction(dataSource);
      logger.warn({ err: error, oldest }, 'A migration waits for a table that others use: trying again');
      await wait(TABLE_LOCK_PAUSE_MS);
    }
  }
}

/** The transaction that has been open for longest, apart from those that migrate. */
async function oldestTransaction(dataSource: DataSource): Promise<{ pid: number; seconds: number } | undefined> {
  const rows = await dataSource.query<{ pid: number; seconds: number }[]>(
    `SELECT pid, round(extract(epoch FROM now() - xact_start))::int AS seconds FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
     ORDER BY xact_start LIMIT 1`,
  );
  return rows[0];
}

export function isPostgres(runner: QueryRunner): boolean {
  return runner.connection.options.type === 'postgres';
}
