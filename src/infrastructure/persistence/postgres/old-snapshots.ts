import { OLD_SNAPSHOT_MS, type OldSnapshot } from '../old-snapshot.js';
import type { Sql } from '../sql.js';

/**
 * The oldest transaction of another session of the database, when it is old. Removed rows stay in tables and indexes until
 * it ends. Sessions of other roles are seen only with the rights of `pg_read_all_stats`.
 */
export async function oldestSnapshot(sql: Sql): Promise<OldSnapshot | undefined> {
  const [oldest] = await sql.all<{ pid: number | null; age_ms: number; name: string; state: string }>(
    `SELECT pid, EXTRACT(EPOCH FROM clock_timestamp() - since)::double precision * 1000 AS age_ms, name, state FROM (
       SELECT pid, xact_start AS since, application_name AS name, state FROM pg_stat_activity
       WHERE datname = current_database() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
         AND backend_type = 'client backend' AND pid <> pg_backend_pid()
       UNION ALL
       SELECT NULL, prepared, gid, 'prepared transaction' FROM pg_prepared_xacts WHERE database = current_database()
     ) AS transactions WHERE since IS NOT NULL ORDER BY since LIMIT 1`,
  );
  if (!oldest || oldest.age_ms < OLD_SNAPSHOT_MS) return undefined;
  const { pid, age_ms, name, state } = oldest;
  return { ageMs: Math.round(age_ms), ...(pid !== null && { pid }), what: `${state}, ${name || 'without a name'}` };
}
