import BetterSqlite3 from 'better-sqlite3';
import pg from 'pg';
import type { Rows } from '../workshop/runner/fixtures.js';

/** A database, and where it is. */
export interface Place {
  readonly name: string;
  readonly url: string;
}

type Value = string | number | boolean | null;
type Row = Record<string, Value>;

/** Rows of the databases of a combination, whichever of them has the table. @throws Error when one can't be read */
export async function select<R extends object>(places: readonly Place[], statement: string): Promise<R[]> {
  const found: R[] = [];
  for (const { url } of places) {
    try {
      found.push(...((await read(url, statement)) as R[]));
    } catch (error) {
      // The module lives elsewhere.
      if (!/no such table|does not exist/.test((error as Error).message)) throw error;
    }
  }
  return found;
}

/** Runs statements behind the application's back, in one transaction. @throws Error, also when a lock is held for long */
export async function administer(url: string, statements: readonly string[]): Promise<void> {
  if (url.startsWith('sqlite:')) {
    // A short wait: the rig stands still meanwhile, with all that it passes on.
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

/** Puts rows into the database that has their table. */
export async function insert({ url }: Place, { table, rows }: Rows): Promise<void> {
  if (rows.length === 0) return;
  const columns = Object.keys(rows[0]!);
  if (url.startsWith('sqlite:')) {
    const db = new BetterSqlite3(url.slice('sqlite:'.length), { timeout: 5000 });
    const places = columns.map((it) => `@${it}`).join(', ');
    const statement = db.prepare(`INSERT OR IGNORE INTO ${table} (${columns.join(', ')}) VALUES (${places})`);
    db.transaction(() => rows.forEach((row) => statement.run(row))).immediate();
    db.close();
    return;
  }
  const literal = (value: Value | undefined) =>
    value === null || value === undefined ? 'NULL' : `'${String(value).replaceAll("'", "''")}'`;
  const lines = rows.map((row) => `(${columns.map((it) => literal(row[it])).join(', ')})`);
  await administer(url, [
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${lines.join(', ')} ON CONFLICT DO NOTHING`,
  ]);
}

/** Has to be done by a client of its own, which the caller ends. @throws Error when the server isn't there */
export async function clientOf(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3000, statement_timeout: 10_000 });
  // Its server may be killed.
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
