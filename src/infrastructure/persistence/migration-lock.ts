import { setTimeout as wait } from 'node:timers/promises';
import type { DataSource, QueryRunner } from 'typeorm';
import { isConflict } from './sql.js';
import { errorMessage } from '../observability/error-message.js';
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

/** How often to look for the session that a migration waits for, in ms. */
const BLOCKER_LOOK_MS = 50;

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
 * On PostgreSQL, runs an attempt to migrate again for as long as it meets tables that others use. Logs one line for each
 * attempt, which names the session that stood in the way.
 * @throws what `attempt` throws, and its last error after an hour
 */
export async function repeatWhileTablesAreUsed<T>(
  dataSource: DataSource,
  attempt: (runner: QueryRunner) => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + MAX_ATTEMPTS_MS;
  for (;;) {
    const runner = dataSource.createQueryRunner();
    const blocker = isPostgres(runner) ? await watchBlocker(dataSource, runner) : undefined;
    try {
      return await attempt(runner);
    } catch (error) {
      if (!isConflict(error) || performance.now() > deadline) throw error;
      const facts = { ...blocker?.found, reason: errorMessage(error) };
      logger.warn(facts, 'A migration waits for a table that another session uses: trying again');
    } finally {
      blocker?.end();
      await runner.release();
    }
    await wait(TABLE_LOCK_PAUSE_MS);
  }
}

/** The session that another one waits for. Its age is hidden from a role that may not see it. */
interface Blocker {
  readonly blockingPid: number;
  readonly transactionAgeS?: number;
}

/** Looks now and then for the session that `runner` waits for, over another connection: PostgreSQL knows it only meanwhile. */
async function watchBlocker(dataSource: DataSource, runner: QueryRunner) {
  const [own] = (await runner.query('SELECT pg_backend_pid() AS pid')) as { pid: number }[];
  const blocker: { found?: Blocker; end: () => void } = { end: () => clearInterval(timer) };
  let isLooking = false;
  const timer = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    const found = dataSource.query<{ pid: number; seconds: number | null }[]>(
      `SELECT pid, round(extract(epoch FROM clock_timestamp() - xact_start))::int AS seconds FROM pg_stat_activity
       WHERE pid = ANY(pg_blocking_pids($1)) ORDER BY xact_start LIMIT 1`,
      [own!.pid],
    );
    found
      .then(([row]) => {
        if (row) blocker.found = { blockingPid: row.pid, transactionAgeS: row.seconds ?? undefined };
      })
      // The log line names no session then.
      .catch(() => undefined)
      .finally(() => (isLooking = false));
  }, BLOCKER_LOOK_MS);
  return blocker;
}

export function isPostgres(runner: QueryRunner): boolean {
  return runner.connection.options.type === 'postgres';
}
