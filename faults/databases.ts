import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import pg from 'pg';
import type { Rows } from '../workshop/runner/fixtures.js';

/** A database and its DATABASE_URL. */
export interface NamedDatabase {
  readonly name: string;
  readonly url: string;
}

type Value = string | number | boolean | null;
type Row = Record<string, Value>;

/** Selects from all databases that have the table. @throws Error when a database can't be read */
export async function select<R extends object>(databases: readonly NamedDatabase[], statement: string): Promise<R[]> {
  const found: R[] = [];
  for (const { url } of databases) {
    try {
      found.push(...((await read(url, statement)) as R[]));
    } catch (error) {
      // This database has no tables of the module.
      if (!/no such table|does not exist/.test((error as Error).message)) throw error;
    }
  }
  return found;
}

/** Runs statements in one transaction. @throws Error, also when another connection holds a lock for too long */
export async function executeStatements(url: string, statements: readonly string[]): Promise<void> {
  if (url.startsWith('sqlite:')) {
    // A short timeout: better-sqlite3 is synchronous and blocks the rig's proxies while it waits.
    const db = new BetterSqlite3(url.slice('sqlite:'.length), { timeout: 50 });
    try {
      db.transaction(() => statements.forEach((it) => db.exec(it))).immediate();
    } finally {
      db.close();
    }
    return;
  }
  await withClient(url, async (client) => {
    await client.query('BEGIN');
    for (const statement of statements) await client.query(statement);
    await client.query('COMMIT');
  });
}

/** Inserts rows; rows whose key exists are skipped. */
export async function insert({ url }: NamedDatabase, { table, rows }: Rows): Promise<void> {
  if (rows.length === 0) return;
  const columns = Object.keys(rows[0]!);
  if (url.startsWith('sqlite:')) {
    const db = new BetterSqlite3(url.slice('sqlite:'.length), { timeout: 5000 });
    const parameters = columns.map((it) => `@${it}`).join(', ');
    const statement = db.prepare(`INSERT OR IGNORE INTO ${table} (${columns.join(', ')}) VALUES (${parameters})`);
    db.transaction(() => rows.forEach((row) => statement.run(row))).immediate();
    db.close();
    return;
  }
  const literal = (value: Value | undefined) =>
    value === null || value === undefined ? 'NULL' : `'${String(value).replaceAll("'", "''")}'`;
  const lines = rows.map((row) => `(${columns.map((it) => literal(row[it])).join(', ')})`);
  await executeStatements(url, [
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${lines.join(', ')} ON CONFLICT DO NOTHING`,
  ]);
}

/** Opens a connection that the caller has to end. @throws Error when the server can't be reached */
export async function clientOf(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3000, statement_timeout: 10_000 });
  // The server may be killed while the connection is idle.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function read(url: string, statement: string): Promise<Row[]> {
  if (!url.startsWith('sqlite:')) return withClient(url, async (client) => (await client.query<Row>(statement)).rows);
  const db = new BetterSqlite3(url.slice('sqlite:'.length), { readonly: true, timeout: 50 });
  try {
    return db.prepare(statement).all() as Row[];
  } finally {
    db.close();
  }
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await clientOf(url);
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
