import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { problemOf } from '../../src/infrastructure/http/problem.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { openHalfOpenProxy, type HalfOpenProxy } from '../support/half-open-proxy.js';
import { connect, numbers, outcome, type Connection } from '../support/notes.js';
import { plant, Work, type Planted } from '../support/planted.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');
const MESSAGES = 5;
/** Time for more attempts than the policy allows, in ms. */
const FAULT_MS = 8000;

(postgres ? describe : describe.skip)('A mesh whose PostgreSQL fails statements', () => {
  let proxy: HalfOpenProxy;
  let admin: Connection;
  let role: string;
  let planted: Planted;
  let behave: () => Promise<unknown>;

  const sql = () => planted.app.get(UnitOfWork).sql;
  const insert = (n: number) => sql().run('INSERT INTO left_effect VALUES ($1, $2)', ['work', n]);

  beforeEach(async () => {
    const location = new URL(await postgres!.fresh());
    admin = await connect(location.href);
    role = `clerk_${process.pid}_${Math.random().toString(36).slice(2)}`;
    await admin.run(`CREATE ROLE ${role} LOGIN; GRANT ALL ON SCHEMA public TO ${role}`);
    location.username = role;
    proxy = await openHalfOpenProxy(location.href);
    behave = async () => undefined;
    const work = async ({ data: { n } }: { data: { n: number } }) => {
      await behave();
      await insert(n);
    };
    planted = await plant({ database: proxy.url }, { work });
  });
  afterEach(async () => {
    await planted.app.close();
    proxy.close();
    await admin.run(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    await admin.close();
  });

  const send = async () => {
    for (const n of numbers(MESSAGES)) {
      await planted.app.get(UnitOfWork).run(() => planted.app.get(CommandBus).execute(new Work(`key ${n}`, { n })));
    }
  };
  const handled = async () =>
    (await admin.all<{ n: number }>('SELECT n FROM left_effect ORDER BY n')).map(({ n }) => n);
  const isWritable = () => outcome(planted.app.get(UnitOfWork).health.assertWritable(async () => undefined));
  const deadLetters = () => planted.app.get(DeadLetters).count({});
  const attempts = async () =>
    (await admin.all<{ n: number }>('SELECT coalesce(max(attempts), 0)::int AS n FROM mesh_delivery'))[0]!.n;

  const fourStatements = async () => {
    for (let n = 0; n < 4; n++) await sql().all('SELECT 1');
  };

  it.each<[string, () => Promise<unknown>, () => unknown, () => unknown]>([
    ['answers slowly', fourStatements, () => proxy.delay(130), () => proxy.delay(0)],
    [
      'refuses a right',
      async () => undefined,
      () => admin.run('ALTER TABLE left_effect OWNER TO CURRENT_USER'),
      () => admin.run(`ALTER TABLE left_effect OWNER TO ${role}`),
    ],
    [
      'has lost a table of the mesh',
      async () => undefined,
      () => admin.run('ALTER TABLE mesh_inbox RENAME TO gone'),
      () => admin.run('ALTER TABLE gone RENAME TO mesh_inbox'),
    ],
  ])(
    'because it %s counts no attempts, is not ready, and handles all messages afterwards',
    async (_, behaviour, spoil, repair) => {
      behave = behaviour;
      await spoil();
      await send();
      await eventually(isWritable, (it) => it !== 'done', 20_000);
      await wait(FAULT_MS);
      expect(await isWritable()).toBeInstanceOf(Error);
      expect(await attempts()).toBe(0);
      await repair();
      await eventually(handled, ({ length }) => length >= MESSAGES);
      expect(await handled()).toEqual(numbers(MESSAGES));
      expect(await deadLetters()).toBe(0);
      await eventually(isWritable, (it) => it === 'done', 20_000);
    },
    60_000,
  );

  it('answers requests with 503, whether they read or write', async () => {
    await admin.run('ALTER TABLE left_effect OWNER TO CURRENT_USER');
    const work = planted.app.get(UnitOfWork);
    const errors = [await outcome(sql().all('SELECT n FROM left_effect')), await outcome(work.run(() => insert(1)))];
    expect(errors.map((it) => problemOf(it).problem.status)).toEqual([503, 503]);
    expect(await isWritable()).toBeInstanceOf(Error);
    await admin.run(`ALTER TABLE left_effect OWNER TO ${role}`);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['waits for a timer', () => wait(1200)],
    ['has a slow query', () => sql().all('SELECT pg_sleep(1.5)')],
    ['uses a table that is not there', () => sql().all('SELECT 1 FROM left_efect')],
    ['uses a column that is not there', () => sql().all('SELECT hwo FROM left_effect')],
    [
      'raises the error of a missing right',
      () => sql().run(`DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '42501'; END $$`),
    ],
  ])(
    'because a handler %s counts attempts, and stays ready',
    async (_, behaviour) => {
      behave = behaviour;
      await send();
      await eventually(deadLetters, (n) => n === MESSAGES, 50_000);
      expect(await isWritable()).toBe('done');
    },
    60_000,
  );
});
