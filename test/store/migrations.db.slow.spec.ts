import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { QueryRunner } from 'typeorm';
import { HISTORIES } from '../../migrations/histories.js';
import { DEMO_RIDE, REACHED } from '../../src/demo.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { Database, migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import type { MigrationClass, MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { ROOT } from '../../tools/source.js';
import { eventually, startCabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, numbers, openNotes, together, type Connection } from '../support/notes.js';
import { migrateCommand } from '../support/migrate-command.js';

function step(name: string, up: (runner: QueryRunner) => Promise<unknown>): MigrationClass {
  return class {
    name = name;
    up = up;
    async down(): Promise<void> {}
  };
}

describe.each(DATABASES)('Migrations on $kind', ({ fresh, kind }) => {
  let location: string;
  let observer: Connection;

  beforeEach(async () => {
    location = await fresh();
    observer = await connect(location);
  });
  afterEach(() => observer.close());

  async function open(histories: MigrationHistory[], migrate = true): Promise<void> {
    const database = await Database.open({ database: location, entities: [], histories, migrate });
    await database.close();
  }

  const history = (...statements: string[]): MigrationHistory => ({
    owner: 'test',
    migrations: statements.map((statement, n) => step(`Step${1763900000000 + n}`, (runner) => runner.query(statement))),
  });
  const tables = async () => {
    const all = `SELECT name FROM ${kind === 'sqlite' ? 'sqlite_master' : '(SELECT tablename AS name FROM pg_tables) t'}`;
    const rows = await observer.all<{ name: string }>(`${all} WHERE name LIKE 'step%' OR name LIKE 'test%'`);
    return rows.map(({ name }) => name).filter((name) => !/autoindex|_key$/.test(name));
  };

  it('are applied once by concurrent starts, also when they take long', async () => {
    const slow: MigrationHistory = {
      owner: 'test',
      migrations: [
        step('Step1763900000000', async (runner) => {
          await runner.query('CREATE TABLE step (n integer)');
          // Longer than the statement timeout of a unit of work on PostgreSQL.
          if (kind === 'postgres') await runner.query('SELECT pg_sleep(2.5)');
          else await wait(500);
          await runner.query('INSERT INTO step (n) VALUES (1)');
        }),
      ],
    };
    expect(await together(numbers(6).map(() => open([slow])))).toEqual({ done: 6, errors: [] });
    expect(await observer.all('SELECT n FROM step')).toEqual([{ n: 1 }]);
    expect(await observer.all('SELECT name FROM test_migrations')).toEqual([{ name: 'Step1763900000000' }]);
  });

  it('are applied once by several processes', async () => {
    const ended = await Promise.all(numbers(4).map(() => migrateCommand([], location)));
    expect(ended.filter(({ code }) => code !== 0)).toEqual([]);
    expect(ended.filter(({ output }) => output.includes('mesh/')).map(({ output }) => output)).toHaveLength(1);
    expect(await observer.all('SELECT id FROM mesh_migrations')).toHaveLength(meshMigrations.migrations.length);
    await (await openNotes(location)).close();
  });

  if (kind === 'sqlite') {
    it.each(['open', 'migrate'])('wait while another connection locks the file (%s)', async (action) => {
      await observer.run('BEGIN EXCLUSIVE');
      const started = action === 'open' ? open([history()]) : migrateDatabase(location, [history()]);
      await wait(300);
      await observer.run('COMMIT');
      await started;
    });
  }

  if (kind === 'postgres') {
    it('let the application work while they wait for a table that a long query reads', async () => {
      await open([history('CREATE TABLE step (n integer)')]);
      const [reader, writer] = [await connect(location), await connect(location)];
      await reader.run('BEGIN; SELECT * FROM step');
      const migrating = open([history('CREATE TABLE step (n integer)', 'ALTER TABLE step ADD COLUMN m integer')]);
      const slowest = { ms: 0 };
      for (const end = performance.now() + 4000; performance.now() < end; await wait(20)) {
        const began = performance.now();
        await writer.run('INSERT INTO step (n) VALUES (1)');
        slowest.ms = Math.max(slowest.ms, performance.now() - began);
      }
      expect(slowest.ms).toBeLessThan(1000);
      await reader.run('ROLLBACK');
      await migrating;
      await writer.run('INSERT INTO step (n, m) VALUES (1, 1)');
      await Promise.all([reader.close(), writer.close()]);
    }, 30_000);
  }

  it('are all rolled back when one fails, and applied after it is corrected', async () => {
    const [first, second] = ['CREATE TABLE step1 (n integer)', 'CREATE TABLE step2 (n integer)'];
    await expect(open([history(first, second, 'CREATE NONSENSE')])).rejects.toThrow(/syntax error/);
    expect(await tables()).toEqual([]);
    await open([history(first, second)]);
    expect((await tables()).sort()).toEqual(['step1', 'step2', 'test_migrations']);
  });

  it('refuse the start when some are missing and may not be applied', async () => {
    const steps = history('CREATE TABLE step1 (n integer)');
    await expect(open([steps], false)).rejects.toThrow('npx meshy migrate): test/Step1763900000000');
    expect(await tables()).toEqual([]);
    await open([steps]);
    await open([steps], false);
  });

  it('are applied alone when they are added later', async () => {
    await open([history('CREATE TABLE step1 (n integer)')]);
    await open([history('CREATE TABLE step1 (n integer)', 'CREATE TABLE step2 (n integer)')]);
    expect(await observer.all('SELECT name, timestamp FROM test_migrations ORDER BY id')).toEqual(
      numbers(2).map((n) => ({
        name: `Step${1763900000000 + n}`,
        timestamp: kind === 'sqlite' ? 1763900000000 + n : `${1763900000000 + n}`,
      })),
    );
  });

  it('are refused when the name of the class has no timestamp', async () => {
    const nameless: MigrationHistory = { owner: 'test', migrations: [step('AddSomething', async () => {})] };
    await expect(open([nameless])).rejects.toThrow(
      'Migration AddSomething of test: its name must end in a timestamp of 13 digits',
    );
  });
});

describe.each(DATABASES)('A $kind database of the release before migrations/', ({ fresh, kind }) => {
  let location: string;

  beforeEach(async () => {
    location = await fresh();
    const connection = await connect(location);
    await connection.run(readFileSync(join(ROOT, `test/fixtures/old-databases/${kind}.sql`), 'utf8'));
    await connection.close();
  });

  it('needs only the migrations of later releases', async () => {
    expect(await migrateCommand(['--status'], location)).toMatchObject({ code: 1 });
    const applied = await migrateDatabase(location, [meshMigrations, ...HISTORIES]);
    expect(applied).toEqual([
      'mesh/MeshJournal1764300000000',
      'rides/RidesListings1764100000000',
      'rides/RidesAttempts1764200000000',
      'rides/RidesWhole1764500000000',
      'geolocation/GeolocationMeasuredOn1764500000000',
      'drivers/DriversAttempts1764200000000',
      'drivers/DriversFreedOn1764500000000',
    ]);
    expect(await migrateCommand(['--status'], location)).toMatchObject({ code: 0 });
  });

  it('starts in production after them, and settles the transit of the demo', async () => {
    await migrateDatabase(location, [meshMigrations, ...HISTORIES]);
    const cabs = await startCabs(location, { NODE_ENV: 'production' });
    try {
      const transit = `/transits/${DEMO_RIDE}`;
      await cabs.http.post(`${transit}/complete`).send(REACHED).expect(202);
      const settlement = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
      const read = async () => (await cabs.http.get(transit)).body;
      const settled = await eventually(read, (it) => it.settlement?.invoice === 'settled' && !it.settlementSince);
      expect(settled).toMatchObject({ status: 'COMPLETED', settlement });
    } finally {
      await cabs.close();
    }
  });
});
