import type { DataSource } from 'typeorm';
import { historyTable, type MigrationHistory } from '../migrate.js';

interface Found {
  readonly schema: string;
  readonly table: string;
  readonly may_read: boolean;
  readonly is_searched: boolean;
  readonly role: string;
  readonly path: string;
}

/**
 * Pending migrations may have been applied to tables that the role of a data source doesn't see.
 * @throws Error that says why it doesn't see them
 */
export async function assertVisible(
  dataSource: DataSource,
  histories: readonly MigrationHistory[],
  pending: readonly string[],
): Promise<void> {
  if (dataSource.options.type !== 'postgres') return;
  const unseen = histories.filter(({ owner, migrations }) => {
    const own = pending.filter((it) => it.startsWith(`${owner}/`));
    return own.length > 0 && own.length === migrations.length;
  });
  const tables = unseen.map(({ owner }) => historyTable(owner));
  const hidden = await whyHidden(dataSource, tables);
  if (hidden) throw new Error(hidden);
}

/**
 * Why the role of a data source doesn't see tables that the database has, in one sentence: it may not read them, or its
 * search path leaves their schema out. Undefined when the database has none of them.
 */
async function whyHidden(dataSource: DataSource, tables: readonly string[]): Promise<string | undefined> {
  // pg_class lists all tables; information_schema only those on which the role has a right.
  const rows = await dataSource.query<Found[]>(
    `SELECT n.nspname AS schema, c.relname AS table, current_user AS role, current_setting('search_path') AS path,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS may_read,
       n.nspname = ANY(current_schemas(true)) AS is_searched
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relname = ANY($1) AND c.relkind IN ('r', 'p')
     ORDER BY is_searched DESC, may_read, schema LIMIT 1`,
    [tables],
  );
  const [found] = rows;
  if (!found) return undefined;
  const { schema, table, role, path } = found;
  if (!found.may_read)
    return `The role ${role} may not read ${schema}.${table}: grant it rights on the schema ${schema} and its tables`;
  return (
    `The migrations are in the schema ${schema} (${schema}.${table}), but the search path of the role ${role} is ` +
    `${path}: add ${schema} to it, or apply the migrations to another schema (npm run migrate)`
  );
}
