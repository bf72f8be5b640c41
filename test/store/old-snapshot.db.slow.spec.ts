import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { PostgresSql } from '../../src/infrastructure/persistence/postgres/postgres-sql.js';
import { dueDeliveries } from '../../src/infrastructure/store/delivery-rows.js';
import { SequenceFloor } from '../../src/infrastructure/store/sequence-floor.js';
import { ROOT } from '../../tools/source.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { BETTER_SQLITE3, DATABASES } from '../support/databases.js';
import { connect } from '../support/notes.js';
import { bodyOf } from '../support/rest.js';

interface Outbox {
  readonly pending: number;
  readonly oldSnapshot?: { readonly ageMs: number; readonly pid?: number; readonly what: string };
}

/** Rows that are removed while the snapshot could still see them. */
const DEAD_ROWS = 200_000;

const READER = `
  const db = new (require('${BETTER_SQLITE3}'))(process.argv[1], { readonly: true });
  db.exec('BEGIN');
  db.prepare('SELECT COUNT(*) FROM mesh_outbox').get();
  console.log('reading');
  setInterval(() => db, 1000);
`;

describe.each(DATABASES)('An old transaction beside the queues on $kind', ({ kind, fresh }) => {
  let url: string;
  let cabs: Cabs;

  beforeAll(async () => {
    url = await fresh();
    if (kind === 'sqlite') {
      symlinkSync(url.slice('sqlite:'.length), `${url.slice('sqlite:'.length)}.link`);
      url += '.link';
    }
    cabs = await startCabs(url);
  });
  afterAll(() => cabs.close());

  const outbox = async () => bodyOf<Outbox>(await cabs.http.get('/mesh/outbox'), 200);

  if (kind === 'postgres') {
    it('is named with its session, and a queue is read from its floor', async () => {
      const other = new pg.Client({ connectionString: url, application_name: 'forgotten' });
      await other.connect();
      await other.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      const { rows } = await other.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      const opened = performance.now();
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      const sql = new PostgresSql((query) => client.query(query));
      const values = `n, 'shop.orders.command.place', n % 100, '{}', 0`;
      const some = `FROM generate_series(1, ${DEAD_ROWS}) AS n`;
      await client.query(
        `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at)
         SELECT 'orders', ${values}, 0 ${some}`,
      );
      const { rows: last } = await client.query<{ seq: string }>('SELECT MAX(seq) AS seq FROM mesh_delivery');
      await client.query('DELETE FROM mesh_delivery');

      const floor = new SequenceFloor('mesh_delivery', 'orders', 0);
      floor.read(last[0]!.seq);
      await floor.current(sql);
      const after = await floor.current(sql);
      expect(after).toBe(Number(last[0]!.seq));
      const msFrom = async (from: number) => {
        const began = performance.now();
        const query = {
          consumer: 'orders',
          attempts: 'first',
          after: from,
          limit: 10,
          maxBytes: 1e6,
          inFlight: [],
        } as const;
        const times = { now: Date.now(), maxDueAt: Date.now() };
        const found = await dueDeliveries(sql, { ...query, ...times, resource: 'r', held: undefined });
        expect(found).toEqual({ deliveries: [], more: false });
        return performance.now() - began;
      };
      const best = { front: Infinity, floor: Infinity };
      // Several times: the first reading of a page may mark rows as dead, and other programs run, too.
      for (let n = 0; n < 7; n++) {
        best.front = Math.min(best.front, await msFrom(0));
        best.floor = Math.min(best.floor, await msFrom(after));
      }
      expect(best.front).toBeGreaterThan(3 * best.floor);

      await wait(Math.max(0, 10_500 - (performance.now() - opened)));
      const { oldSnapshot, pending } = await outbox();
      expect(pending).toBe(0);
      expect(oldSnapshot).toMatchObject({ pid: rows[0]!.pid, what: 'idle in transaction, forgotten' });
      expect(oldSnapshot!.ageMs).toBeGreaterThan(10_000);
      await other.end();
      await eventually(outbox, (it) => it.oldSnapshot === undefined);
      await client.end();
    }, 120_000);
  }

  if (kind === 'sqlite') {
    it('a process that keeps the log from being reused is named', async () => {
      const child = spawn(process.execPath, ['-e', READER, url.slice('sqlite:'.length)], { cwd: ROOT });
      await once(child.stdout, 'data');
      const connection = await connect(url);
      await connection.run('CREATE TABLE big (text text)');
      for (let n = 0; n < 20; n++) await connection.run(`INSERT INTO big VALUES (hex(randomblob(500000)))`);
      expect((await outbox()).oldSnapshot).toBeUndefined();
      await wait(10_500);
      const { oldSnapshot } = await outbox();
      expect(oldSnapshot).toMatchObject({ pid: child.pid, what: expect.stringMatching(/\d\d MB/) });
      child.kill('SIGKILL');
      await once(child, 'exit');
      // The file of the log stays as large as it was, below journal_size_limit.
      expect((await outbox()).oldSnapshot).toBeUndefined();
      await connection.close();
    }, 60_000);
  }
});
