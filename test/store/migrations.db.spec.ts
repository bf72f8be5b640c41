import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { meshMigrations } from '../../src/infrastructure/store/migrations.js';
import { Database, migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { DATABASES } from '../support/databases.js';
import { connect, numbers, openNotes, together, type Connection } from '../support/notes.js';

describe.each(DATABASES)('Migrations on $kind', ({ fresh, kind }) => {
  let location: string;
  let onlooker: Connection;

  beforeEach(async () => {
    location = await fresh();
    onlooker = await connect(location);
  });
  afterEach(() => onlooker.close());

  async function open(histories: MigrationHistory[], migrate = true): Promise<void> {
    const database = await Database.open({ database: location, entities: [], histories, migrate });
    await database.close();
  }

  const history = (...statements: string[]): MigrationHistory => ({
    owner: 'test',
    migrations: statements.map((statement, n) => ({
      name: `Step${1763900000000 + n}`,
      up: (runner) => runner.query(statement),
      down: async () => {},
    })),
  });
  const tables = async () => {
    const all = `SELECT name FROM ${kind === 'sqlite' ? 'sqlite_master' : '(SELECT tablename AS name FROM pg_tables) t'}`;
    const rows = await onlooker.all<{ name: string }>(`${all} WHERE name LIKE 'step%' OR name LIKE 'test%'`);
    return rows.map(({ name }) => name).filter((name) => !/autoindex|_key$/.test(name));
  };

  it('are applied once however many start at once, and however long they take', async () => {
    const slow: MigrationHistory = {
      owner: 'test',
      migrations: [
        {
          name: 'Step1763900000000',
          up: async (runner) => {
            await runner.query('CREATE TABLE step (n integer)');
            // Longer than a statement of a unit of work may wait on PostgreSQL.
            if (kind === 'postgres') await runner.query('SELECT pg_sleep(2.5)');
            else await wait(500);
            await runner.query('INSERT INTO step (n) VALUES (1)');
          },
          down: async () => {},
        },
      ],
    };
    expect(await together(numbers(6).map(() => open([slow])))).toEqual({ done: 6, errors: [] });
    expect(await onlooker.all('SELECT n FROM step')).toEqual([{ n: 1 }]);
    expect(await onlooker.all('SELECT name FROM test_migrations')).toEqual([{ name: 'Step1763900000000' }]);
  });

  it('are applied once by several processes', async () => {
    const { NODE_OPTIONS: _, ...environment } = process.env;
    const processes = numbers(4).map(async () => {
      const child = spawn(process.execPath, ['--import', 'tsx', 'src/migrate.ts'], {
        env: { ...environment, DATABASE_URL: location },
      });
      let output = '';
      child.stdout.on('data', (text) => (output += text));
      child.stderr.on('data', (text) => (output += text));
      const [code] = (await once(child, 'close')) as [number];
      return { code, output };
    });
    const ended = await Promise.all(processes);
    expect(ended.filter(({ code }) => code !== 0)).toEqual([]);
    expect(ended.filter(({ output }) => output.includes('mesh/')).map(({ output }) => output)).toHaveLength(1);
    expect(await onlooker.all('SELECT id FROM mesh_migrations')).toHaveLength(meshMigrations.migrations.length);
    await (await openNotes(location)).close();
  });

  if (kind === 'sqlite') {
    it.each(['open', 'migrate'])('wait while another connection has the whole file to itself (%s)', async (how) => {
      await onlooker.run('BEGIN EXCLUSIVE');
      const started = how === 'open' ? open([history()]) : migrateDatabase(location, [history()]);
      await wait(300);
      await onlooker.run('COMMIT');
      await started;
    });
  }

  it('leave nothing behind when one fails, and are applied when it is mended', async () => {
    const [first, second] = ['CREATE TABLE step1 (n integer)', 'CREATE TABLE step2 (n integer)'];
    await expect(open([history(first, second, 'CREATE NONSENSE')])).rejects.toThrow(/syntax error/);
    expect(await tables()).toEqual([]);
    await open([history(first, second)]);
    expect((await tables()).sort()).toEqual(['step1', 'step2', 'test_migrations']);
  });

  it('are an error when they are missing and may not be applied', async () => {
    const steps = history('CREATE TABLE step1 (n integer)');
    await expect(open([steps], false)).rejects.toThrow('npm run migrate): test/Step1763900000000');
    expect(await tables()).toEqual([]);
    await open([steps]);
    await open([steps], false);
  });

  it('that come later are applied alone', async () => {
    await open([history('CREATE TABLE step1 (n integer)')]);
    await open([history('CREATE TABLE step1 (n integer)', 'CREATE TABLE step2 (n integer)')]);
    expect(await onlooker.all('SELECT name, timestamp FROM test_migrations ORDER BY id')).toEqual(
      numbers(2).map((n) => ({
        name: `Step${1763900000000 + n}`,
        timestamp: kind === 'sqlite' ? 1763900000000 + n : `${1763900000000 + n}`,
      })),
    );
  });
});
