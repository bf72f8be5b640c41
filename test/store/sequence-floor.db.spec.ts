import fc from 'fast-check';
import pg from 'pg';
import { PostgresSql } from '../../src/infrastructure/persistence/postgres/postgres-sql.js';
import type { Sql } from '../../src/infrastructure/persistence/sql.js';
import { SequenceFloor } from '../../src/infrastructure/store/sequence-floor.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

/** Sessions that write. */
const WRITERS = 3;
const RUNS = 25;

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('insert' as const), writer: fc.nat(WRITERS - 1) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('commit', 'rollback'), writer: fc.nat(WRITERS - 1) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('handle' as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('raise' as const) }) },
);

describe.each(DATABASES.filter(({ kind }) => kind === 'postgres'))('The floor of a queue on $kind', ({ fresh }) => {
  const clients: pg.Client[] = [];
  let reader: pg.Client;
  let sql: PostgresSql;
  let connectionString: string;

  const connectAll = async () => {
    clients.length = 0;
    for (let n = 0; n <= WRITERS; n++) {
      const client = new pg.Client({ connectionString });
      await client.connect();
      clients.push(client);
    }
    reader = clients.pop()!;
    sql = new PostgresSql((query) => reader.query(query));
  };

  beforeAll(async () => {
    connectionString = await fresh();
    await connectAll();
    await reader.query('CREATE TABLE mesh_outbox (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)');
  });
  afterAll(() => Promise.all([...clients, reader].map((it) => it?.end())));

  const insert = async (client: pg.Client) => {
    const { rows } = await client.query<{ seq: string }>('INSERT INTO mesh_outbox DEFAULT VALUES RETURNING seq');
    return Number(rows[0]!.seq);
  };
  const handle = async (floor: SequenceFloor, count: number) => {
    const { rows } = await reader.query<{ seq: string }>(
      `DELETE FROM mesh_outbox WHERE seq IN (SELECT seq FROM mesh_outbox ORDER BY seq LIMIT ${count}) RETURNING seq`,
    );
    for (const { seq } of rows) floor.read(seq);
    return rows.map(({ seq }) => Number(seq));
  };

  it('is never above a row that is there or may still come, in any order of commits', async () => {
    let raised = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        await reader.query('DELETE FROM mesh_outbox');
        const floor = new SequenceFloor('mesh_outbox', undefined, 0);
        const uncommitted = new Map<number, number[]>();
        const committed = new Set<number>();
        for (const it of steps) {
          if (it.kind === 'insert') {
            if (!uncommitted.has(it.writer)) {
              await clients[it.writer]!.query('BEGIN');
              uncommitted.set(it.writer, []);
            }
            uncommitted.get(it.writer)!.push(await insert(clients[it.writer]!));
          } else if (it.kind === 'handle') {
            for (const seq of await handle(floor, it.count)) committed.delete(seq);
          } else if (it.kind === 'raise') {
            const value = await floor.current(sql);
            if (value > 0) raised++;
            for (const seq of [...committed, ...[...uncommitted.values()].flat()]) expect(seq).toBeGreaterThan(value);
          } else if (uncommitted.has(it.writer)) {
            await clients[it.writer]!.query(it.kind.toUpperCase());
            if (it.kind === 'commit') for (const seq of uncommitted.get(it.writer)!) committed.add(seq);
            uncommitted.delete(it.writer);
          }
        }
        for (const writer of uncommitted.keys()) await clients[writer]!.query('ROLLBACK');
      }),
      { numRuns: RUNS },
    );
    // How often is up to the random steps: 8 times in one of some hundred runs.
    expect(raised).toBeGreaterThan(0);
  });

  it('rises to the last handled row', async () => {
    const floor = new SequenceFloor('mesh_outbox', undefined, 0);
    const last = await insert(clients[0]!);
    await handle(floor, 100);
    await floor.current(sql);
    expect(await floor.current(sql)).toBe(last);
    const next = await insert(clients[0]!);
    await floor.current(sql);
    expect(await floor.current(sql)).toBeLessThan(next);
  });

  /** The server as it would answer with another text in the place of `text`. */
  const answering = (text: string, other: string): Sql => ({
    dialect: 'postgres',
    run: (...query) => sql.run(...query),
    all: (statement, parameters) => sql.all(statement.replace(text, other), parameters),
  });

  it('begins anew on another server, which may know less', async () => {
    const floor = new SequenceFloor('mesh_outbox', undefined, 0);
    await insert(clients[0]!);
    await handle(floor, 100);
    await floor.current(sql);
    expect(await floor.current(sql)).toBeGreaterThan(0);
    const other = answering('pg_postmaster_start_time()', "'2000-01-01'::timestamptz");
    expect(await floor.current(other)).toBe(0);
  });

  describe('begins anew when rows with smaller numbers may come, because', () => {
    /** A floor at the last number of the sequence. */
    const raised = async (lookMs?: number) => {
      const floor = new SequenceFloor('mesh_outbox', undefined, 0, lookMs);
      for (let n = 0; n < 3; n++) await insert(clients[0]!);
      await handle(floor, 100);
      await floor.current(sql);
      expect(await floor.current(sql)).toBeGreaterThan(2);
      return floor;
    };

    it.each(['ALTER TABLE mesh_outbox ALTER COLUMN seq RESTART', `SELECT setval('mesh_outbox_seq_seq', 2)`])(
      'of %s',
      async (statement) => {
        const floor = await raised();
        const { rows } = await reader.query<{ last: string }>('SELECT last_value AS last FROM mesh_outbox_seq_seq');
        await reader.query(statement);
        expect(await floor.current(sql)).toBe(0);
        await reader.query(`SELECT setval('mesh_outbox_seq_seq', ${rows[0]!.last})`);
      },
    );

    it('the table is another one', async () => {
      const floor = await raised();
      await reader.query('ALTER TABLE mesh_outbox RENAME TO replaced');
      await reader.query(
        'CREATE TABLE mesh_outbox (seq bigint GENERATED ALWAYS AS IDENTITY (START 1000000) PRIMARY KEY)',
      );
      await insert(clients[0]!);
      expect(await floor.current(sql)).toBe(0);
      await reader.query('DROP TABLE mesh_outbox');
      await reader.query('ALTER TABLE replaced RENAME TO mesh_outbox');
    });

    it('the database is another one', async () => {
      const floor = await raised();
      const administrator = new pg.Client({ connectionString: process.env.TEST_DATABASE_URL });
      await administrator.connect();
      const name = `restored_${process.pid}`;
      await Promise.all([...clients, reader].map((it) => it.end()));
      await administrator.query(`CREATE DATABASE ${name} TEMPLATE ${new URL(connectionString).pathname.slice(1)}`);
      await connectAll();
      const restored = new pg.Client({
        connectionString: Object.assign(new URL(connectionString), { pathname: name }).href,
      });
      await restored.connect();
      // The tables have the same oids there, and the sequence knows as much.
      expect(await floor.current(new PostgresSql((query) => restored.query(query)))).toBe(0);
      await restored.end();
      await administrator.query(`DROP DATABASE ${name}`);
      await administrator.end();
    });

    it('a row is there although no sign was seen', async () => {
      const floor = await raised(0);
      await reader.query('INSERT INTO mesh_outbox OVERRIDING SYSTEM VALUE SELECT 1');
      await eventually(
        () => floor.current(sql),
        (value) => value === 0,
      );
      await handle(floor, 100);
    });
  });

  it('stays where the role may not read the sequence', async () => {
    const floor = new SequenceFloor('mesh_outbox', undefined, 0);
    const refused = answering('has_sequence_privilege(', 'NOT has_sequence_privilege(');
    await insert(clients[0]!);
    await handle(floor, 100);
    await floor.current(refused);
    expect(await floor.current(refused)).toBeGreaterThan(0);
    expect(await floor.current(refused)).toBeGreaterThan(0);
  });

  it('does not rise beside a prepared transaction, whose lock has another name than before', async () => {
    const floor = new SequenceFloor('mesh_outbox', undefined, 0);
    await insert(clients[0]!);
    await handle(floor, 100);
    await floor.current(sql);
    const prepared = answering('ARRAY(SELECT virtual', `ARRAY['-1/77']::text[] || ARRAY(SELECT virtual`);
    for (let n = 0; n < 3; n++) expect(await floor.current(prepared)).toBe(0);
    expect(await floor.current(sql)).toBeGreaterThan(0);
  });

  it('does not rise over a sequence with a cache, whose numbers are taken before they are used', async () => {
    const floor = new SequenceFloor('mesh_outbox', undefined, 0);
    await reader.query('ALTER SEQUENCE mesh_outbox_seq_seq CACHE 20');
    await insert(clients[0]!);
    await handle(floor, 100);
    for (let n = 0; n < 3; n++) expect(await floor.current(sql)).toBe(0);
    await reader.query('ALTER SEQUENCE mesh_outbox_seq_seq CACHE 1');
  });

  it('a session that stays open after writing holds it', async () => {
    const floor = new SequenceFloor('mesh_outbox', undefined, 0);
    await reader.query('DELETE FROM mesh_outbox');
    await clients[0]!.query('BEGIN');
    const late = await insert(clients[0]!);
    const early = await insert(clients[1]!);
    expect(early).toBeGreaterThan(late);
    await handle(floor, 1);
    for (let n = 0; n < 5; n++) expect(await floor.current(sql)).toBeLessThan(late);
    await clients[0]!.query('COMMIT');
    for (let n = 0; n < 5; n++) expect(await floor.current(sql)).toBeLessThan(late);
    await handle(floor, 1);
    await floor.current(sql);
    expect(await floor.current(sql)).toBe(early);
  });
});
