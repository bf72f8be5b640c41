import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { ROOT } from '../tools/source.js';
import { clientOf, type Place } from './databases.js';
import type { Fault } from './fault.js';
import type { Stand } from './test-bed.js';

/* Databases that can't be written. */

export const diskFull: Fault = {
  name: 'disk-full',
  title: 'the disk of the databases is full for some seconds',
  hindersStarting: true,
  inapplicable: (_, { unfillable }) => unfillable,
  run: async ({ volume, postgres }, random, ms) => {
    const until = performance.now() + Math.min(ms, random.between(2000, 7000));
    // What processes give back is taken as well.
    while (performance.now() < until) {
      volume.fill();
      await wait(100);
    }
    volume.empty();
    // It may have ended itself.
    await postgres?.ready(60_000);
  },
};

/** The longest lock, in ms. */
const LOCKED_MS = 8000;

export const locked: Fault = {
  name: 'locked',
  title: 'another process holds a lock on what everybody writes',
  hindersStarting: true,
  run: async (stand, random) => {
    const place = random.pick(stand.databases);
    const lockMs = random.between(500, LOCKED_MS);
    if (place.url.startsWith('sqlite:')) await lockFile(place, random.pick(['IMMEDIATE', 'EXCLUSIVE']), lockMs);
    else await lockTables(stand, place, random.pick(TABLES), lockMs);
  },
};

const LOCKER = `
  const db = new (require('better-sqlite3'))(process.argv[1], { timeout: 5000 });
  db.exec('BEGIN ' + process.argv[2]);
  setTimeout(() => db.close(), Number(process.argv[3]));
`;

async function lockFile({ url }: Place, mode: string, ms: number): Promise<void> {
  const words = ['-e', LOCKER, url.slice('sqlite:'.length), mode, String(ms)];
  const child = spawn(process.execPath, words, { cwd: ROOT, stdio: 'ignore' });
  const late = setTimeout(() => child.kill('SIGKILL'), ms + 10_000);
  await once(child, 'exit');
  clearTimeout(late);
}

const TABLES = ['mesh_outbox, mesh_delivery', 'mesh_inbox', 'mesh_lease', 'mesh_replica', 'mesh_idempotency_key'];

async function lockTables({ postgres }: Stand, { url }: Place, tables: string, ms: number): Promise<void> {
  await postgres!.ready(30_000);
  const client = await clientOf(url);
  try {
    await client.query('BEGIN');
    await client.query(`LOCK TABLE ${tables} IN ACCESS EXCLUSIVE MODE`);
    await wait(ms);
    await client.query('ROLLBACK');
  } catch {
    // Everybody else was quicker for as long as we may wait, or the server was killed.
  } finally {
    await client.end().catch(() => undefined);
  }
}
