import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { Agent } from 'undici';
import { PICKUP, PLANNED } from '../src/demo.js';
import { ROOT } from '../tools/source.js';
import { clientOf } from './databases.js';
import type { Combination } from './combinations.js';
import type { Fault } from './fault.js';
import type { TestBed } from './test-bed.js';

/* Faults as production knows them: too many requests, old transactions, and a PostgreSQL that accepts no COMMIT. */

/** Requests that are open at a time: far more than are worked on. */
const OPEN_REQUESTS = 400;
const OVERLOAD_TIMEOUT_MS = 10_000;
const ONLY_POSTGRES = ({ database }: Combination) =>
  database === 'postgres' ? undefined : 'this combination uses SQLite';

export const overload: Fault = {
  name: 'overload',
  title: 'users send many times the requests that can be handled',
  run: async (testBed, random, ms) => {
    testBed.hadOverload = true;
    const agent = new Agent({ connections: OPEN_REQUESTS, headersTimeout: OVERLOAD_TIMEOUT_MS });
    const until = performance.now() + ms;
    const wrong = new Set<string>();
    let refused = 0;
    const send = async (path: string, body: object) => {
      const origin = random.pick(testBed.urls);
      const request = { origin, path, method: 'POST', headers: { 'content-type': 'application/json' } } as const;
      const answer = await agent.request({ ...request, body: JSON.stringify(body) });
      const text = await answer.body.text();
      if (answer.statusCode === 503) refused++;
      else if (answer.statusCode >= 400) wrong.add(`${answer.statusCode} ${text.slice(0, 200)}`);
      return { status: answer.statusCode, text };
    };
    const client = await send('/clients', { name: 'Eve', lastName: 'Many' }).catch(() => undefined);
    const clientId = client?.status === 201 ? (JSON.parse(client.text) as { id: number }).id : undefined;
    const user = async () => {
      while (performance.now() < until) {
        const isRide = clientId !== undefined && random.chance(0.7);
        const [path, body] = isRide
          ? ['/transits', { clientId, from: PICKUP, to: PLANNED }]
          : ['/clients', { name: 'Eve', lastName: 'Many' }];
        // Without an answer: the process may have been killed.
        await send(path, body as object).catch(() => wait(50));
      }
    };
    await Promise.all(Array.from({ length: OPEN_REQUESTS }, user));
    await agent.destroy();
    if (wrong.size > 0) throw new Error(`answers that no user should get: ${[...wrong].slice(0, 3).join('; ')}`);
    return refused > 0 ? undefined : false;
  },
};

const READER_SCRIPT = `
  const db = new (require('better-sqlite3'))(process.argv[1], { readonly: true, timeout: 5000 });
  db.exec('BEGIN');
  db.prepare('SELECT COUNT(*) FROM mesh_outbox').get();
  setTimeout(() => db.close(), Number(process.argv[2]));
`;

export const oldSnapshot: Fault = {
  name: 'old-snapshot',
  title: 'a transaction of another session stays open, so that no removed row can be cleaned up',
  weight: 2,
  run: async (testBed, random, ms) => {
    const { url } = random.pick(testBed.moduleDatabases);
    if (url.startsWith('sqlite:')) {
      const args = ['-e', READER_SCRIPT, url.slice('sqlite:'.length), String(ms)];
      const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'ignore' });
      const [code] = (await once(child, 'exit')) as [number | null];
      return code === 0 ? undefined : false;
    }
    await testBed.postgres!.ready(30_000);
    const client = await clientOf(url);
    let isOpen = false;
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await client.query('SELECT COUNT(*) FROM mesh_outbox');
      isOpen = true;
      await wait(ms);
      await client.query('ROLLBACK');
    } catch {
      // The tables are locked, or the server was killed.
    } finally {
      await client.end().catch(() => undefined);
    }
    return isOpen ? undefined : false;
  },
};

export const readOnly: Fault = {
  name: 'read-only',
  title: 'PostgreSQL becomes a standby, which takes no writes, and is promoted later',
  hindersStart: true,
  inapplicable: ONLY_POSTGRES,
  run: async ({ postgres }, random, ms) => {
    postgres!.restartAsStandby();
    await wait(Math.min(ms, random.between(1000, 4000)));
    await postgres!.promote(30_000);
  },
};

export const silentStandby: Fault = {
  name: 'silent-standby',
  title: 'a synchronous standby of PostgreSQL does not answer, so that no COMMIT ends',
  hindersStart: true,
  inapplicable: ONLY_POSTGRES,
  run: async (testBed, random, ms) => {
    await setStandby(testBed, `'nobody'`);
    await wait(Math.min(ms, random.between(1500, 6000)));
    await setStandby(testBed, `''`);
  },
};

async function setStandby({ postgres }: TestBed, names: string): Promise<void> {
  await postgres!.repeat(`ALTER SYSTEM SET synchronous_standby_names = ${names}`, 30_000);
  await postgres!.repeat('SELECT pg_reload_conf()', 30_000);
}
