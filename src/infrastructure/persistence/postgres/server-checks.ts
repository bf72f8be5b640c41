import type { Client } from 'pg';
import type { SessionConfig } from './session.js';

/** Checks what a server must be, before anything is written. @throws Error that says what is needed */
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
    await Promise.all([first.end(), second.end()].map((ended) => ended.catch(() => undefined)));
  }
}

async function assertUnicode(client: Client): Promise<void> {
  const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
  const encoding = rows[0]!.server_encoding;
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
    await second.query('BEGIN').catch((cause: unknown) => {
      throw new Error(refusal, { cause });
    });
    const meanwhile = await processOf(second);
    const after = await processOf(first);
    await second.query('COMMIT');
    if (before === meanwhile || before !== after) throw new Error(refusal);
  }
}

async function processOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  return rows[0]!.pid;
}
