import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { ROOT } from '../tools/source.js';
import { clientOf, type NamedDatabase } from './databases.js';
import type { Fault } from './fault.js';
import type { TestBed } from './test-bed.js';

/* Faults of databases: full, or locked. */

export const diskFull: Fault = {
  name: 'disk-full',
  title: 'the disk of the databases is full for some seconds',
  hindersStart: true,
  inapplicable: (_, { unfillable }) => unfillable,
  run: async ({ volume, postgres }, random, ms) => {
    const until = performance.now() + Math.min(ms, random.between(2000, 7000));
    // Fill again and again: processes free space meanwhile.
    while (performance.now() < until) {
      volume.fill();
      await wait(100);
    }
    volume.empty();
    // PostgreSQL may have stopped for lack of space.
    await postgres?.ready(60_000);
  },
};

/** Longest lock, in ms. */
const MAX_LOCK_MS = 8000;

export const locked: Fault = {
  name: 'locked',
  title: 'another process holds a lock on a database file or on tables of the mesh',
  hindersStart: true,
  run: async (testBed, random) => {
    const database = random.pick(testBed.databases);
    const lockMs = random.between(500, MAX_LOCK_MS);
    if (database.url.startsWith('sqlite:')) await lockFile(database, random.pick(['IMMEDIATE', 'EXCLUSIVE']), lockMs);
    else await lockTables(testBed, database, random.pick(TABLES), lockMs);
  },
};

const LOCK_SCRIPT = `
  const db = new (require('better-sqlite3'))(process.argv[1], { timeout: 5000 });
  db.exec('BEGIN ' + process.argv[2]);
  setTimeout(() => db.close(), Number(process.argv[3]));
`;

async function lockFile({ url }: NamedDatabase, mode: string, ms: number): Promise<void> {
  const args = ['-e', LOCK_SCRIPT, url.slice('sqlite:'.length), mode, String(ms)];
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'ignore' });
  const late = setTimeout(() => child.kill('SIGKILL'), ms + 10_000);
  await once(child, 'exit');
  clearTimeout(late);
}

const TABLES = ['mesh_outbox, mesh_delivery', 'mesh_inbox', 'mesh_lease', 'mesh_replica', 'mesh_idempotency_key'];

async function lockTables({ postgres }: TestBed, { url }: NamedDatabase, tables: string, ms: number): Promise<void> {
  await postgres!.ready(30_000);
  const client = await clientOf(url);
  try {
    await client.query('BEGIN');
    await client.query(`LOCK TABLE ${tables} IN ACCESS EXCLUSIVE MODE`);
    await wait(ms);
    await client.query('ROLLBACK');
  } catch {
    // The lock could not be acquired in time, or the server was killed.
  } finally {
    await client.end().catch(() => undefined);
  }
}
