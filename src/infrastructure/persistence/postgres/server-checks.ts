import type { Client, QueryResultRow } from 'pg';
import type { SessionConfig } from './session.js';
import { closeConnection, withTimeout } from './timeouts.js';

/**
 * Checks what a server must be, before anything is written.
 * @throws Error that says what is needed, DatabaseUnavailable or DatabaseTimeout when the server doesn't respond in time
 */
export async function assertUsable(config: SessionConfig): Promise<void> {
  const first = new config.Client(config);
  const second = new config.Client(config);
  try {
    await first.connect();
    await assertUnicode(first);
    if ((await processOf(first)) === (first as Client & { processID: number }).processID) return;
    await second.connect();
    await assertOwnSessions(first, second);
  } finally {
    await Promise.all([first, second].map((client) => closeConnection(client)));
  }
}

async function assertUnicode(client: Client): Promise<void> {
  const { server_encoding: encoding } = await ask<{ server_encoding: string }>(client, 'SHOW server_encoding');
  if (encoding !== 'UTF8')
    throw new Error(`The database has the encoding ${encoding}, and needs UTF8: create it with ENCODING 'UTF8'`);
}

/** Behind a pooler: two clients whose statements meet in one session have none of their own. */
async function assertOwnSessions(first: Client, second: Client): Promise<void> {
  const refusal =
    'A pooler such as PgBouncer gives each transaction another session of PostgreSQL. The mesh needs sessions of its ' +
    'own, for prepared statements, LISTEN, locks and limits: set pool_mode = session, or connect past the pooler';
  for (let tries = 0; tries < 5; tries++) {
    const before = await processOf(first);
    // A pooler that shares sessions by statement refuses transactions.
    await ask(second, 'BEGIN').catch((cause: unknown) => {
      throw new Error(refusal, { cause });
    });
    const meanwhile = await processOf(second);
    const after = await processOf(first);
    await ask(second, 'COMMIT');
    if (before === meanwhile || before !== after) throw new Error(refusal);
  }
}

async function processOf(client: Client): Promise<number> {
  return (await ask<{ pid: number }>(client, 'SELECT pg_backend_pid() AS pid')).pid;
}

/** @returns the first row. @throws DatabaseTimeout */
async function ask<Row extends QueryResultRow>(client: Client, statement: string): Promise<Row> {
  const { rows } = await withTimeout(client, client.query<Row>(statement));
  return rows[0]!;
}
