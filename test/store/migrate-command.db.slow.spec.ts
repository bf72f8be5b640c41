import { setTimeout as wait } from 'node:timers/promises';
import { HISTORIES } from '../../migrations/histories.js';
import { DATABASES } from '../support/databases.js';
import { connect } from '../support/notes.js';
import { migrateCommand, typeorm } from '../support/migrate-command.js';
import { ONE_DATABASE } from '../support/thorough.js';

describe.each(ONE_DATABASE)('npm run migrate on $kind', ({ fresh }) => {
  it('lists missing migrations with --status, without changing the database', async () => {
    const location = await fresh();
    const before = await migrateCommand(['--status'], location);
    expect(before).toMatchObject({ code: 1, output: expect.stringMatching(/^mesh: 5 missing\n {2}MeshTables1763/) });
    expect(before.output).toContain(
      'rides: 5 missing\n  RidesTables1763900000000\n  RidesReconciliation1764000000000\n  RidesListings1764100000000\n  RidesAttempts1764200000000\n  RidesWhole1764500000000\n',
    );
    expect(await migrateCommand(['--status'], location)).toEqual(before);
    expect((await migrateCommand([], location)).code).toBe(0);
    const after = await migrateCommand(['--status'], location);
    expect(after).toMatchObject({ code: 0, output: expect.stringContaining('rides: 5 applied') });
    expect(after.output).not.toContain('missing');
  });

  it('prints the missing SQL with --sql, which makes the same schema', async () => {
    const [planned, migrated] = [await fresh(), await fresh()];
    const { code, output } = await migrateCommand(['--sql'], planned);
    expect(code).toBe(0);
    expect((await migrateCommand(['--status'], planned)).output).toContain('mesh: 5 missing');
    const connection = await connect(planned);
    await connection.run(output);
    await connection.close();
    expect((await migrateCommand(['--status'], planned)).code).toBe(0);
    await migrateCommand([], migrated);
    expect(await schemaOf(planned)).toEqual(await schemaOf(migrated));
    expect((await migrateCommand(['--sql'], planned)).output).toBe('-- Nothing to apply.\n');
  });

  it("leaves nothing to generate for TypeORM's migration:generate, and is listed by migration:show", async () => {
    const location = await fresh();
    await migrateCommand([], location);
    const shown = await typeorm('rides', location, 'migration:show');
    expect(shown.output).toMatch(
      /\[X\] 1 RidesTables1763900000000\n\[X\] 2 RidesReconciliation1764000000000\n\[X\] 3 RidesListings1764100000000\n\[X\] 4 RidesAttempts1764200000000\n/,
    );
    const generated = await Promise.all(
      HISTORIES.map(({ owner }) => typeorm(owner, location, 'migration:generate', '--check', 'none')),
    );
    const upToDate = { code: 0, output: expect.stringContaining('No changes in database schema') as string };
    expect(generated).toEqual(HISTORIES.map(() => upToDate));
  });
});

describe('npm run migrate', () => {
  it('says in one line which rights are missing', async () => {
    const nowhere = await migrateCommand([], 'sqlite:/proc/cabs.db');
    expect(nowhere).toMatchObject({
      code: 1,
      output: expect.stringMatching(/^No right to write \/proc\/cabs\.db: .+\n$/),
    });
    const [, postgres] = DATABASES;
    if (!postgres) return;
    const location = await postgres.fresh();
    const connection = await connect(location);
    await connection.run(
      'DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC',
    );
    const url = new URL(location);
    url.username = 'clerk';
    const { code, output } = await migrateCommand([], url.href);
    await migrateCommand([], location);
    const status = await migrateCommand(['--status'], url.href);
    await connection.run('DROP ROLE clerk');
    await connection.close();
    expect(code).toBe(1);
    expect(output).toMatch(/^The user clerk has not all rights on the database: .+ \(permission denied .+\)\n$/);
    expect(status).toMatchObject({
      code: 1,
      output: expect.stringMatching(/^The role clerk may not read public\.\w+: /),
    });
  });

  const [, postgres] = DATABASES;
  (postgres ? it : it.skip)(
    'waits for locked tables, and names the session that locks them in one line',
    async () => {
      const location = await postgres!.fresh();
      await migrateCommand([], location);
      for (const [name, prepare] of [
        ['mesh_module', 'SELECT 1'],
        ['rides_migrations', 'SELECT 1'],
        [
          'rides_transit',
          `DELETE FROM rides_migrations WHERE name LIKE 'RidesListings%';
           DROP INDEX rides_transit_latest, rides_transit_latest_of_client, rides_transit_latest_in_status,
             rides_transit_latest_of_client_in_status;
           CREATE INDEX rides_transit_client ON rides_transit (client_id);
           CREATE INDEX rides_transit_status ON rides_transit (status);
           CREATE INDEX rides_transit_requested ON rides_transit (requested_at);
           CREATE INDEX rides_transit_completing ON rides_transit (completing_at)`,
        ],
      ] as const) {
        const blocking = await connect(location);
        await blocking.run(prepare);
        await blocking.run(`BEGIN; LOCK ${name} IN ACCESS EXCLUSIVE MODE`);
        const [row] = await blocking.all<{ pid: number }>('SELECT pg_backend_pid() AS pid');
        const migrating = migrateCommand([], location);
        await wait(5000);
        await blocking.close();
        const { code, output } = await migrating;
        const lines = output.trimEnd().split('\n');
        expect(code).toBe(0);
        expect(lines.pop()).toMatch(/^Nothing to apply\.$|^- rides\/RidesListings/);
        const waiting = lines.filter((it) => it !== 'Applied:');
        expect(waiting.length).toBeGreaterThan(0);
        for (const line of waiting)
          expect(line).toMatch(new RegExp(`waits for a table .*blockingPid=${row!.pid} transactionAgeS=\\d+ reason=`));
      }
    },
    60_000,
  );

  it.each([['--bogus'], ['rides'], ['--status', '--sql']])('refuses %s with its usage', async (...args) => {
    const { code, output } = await migrateCommand(args, 'sqlite:/nowhere/cabs.db');
    expect(code).toBe(2);
    expect(output).toContain('npm run migrate [--');
    expect(output).not.toMatch(/^ +at /m);
  });

  it('prints its usage with --help', async () => {
    const { code, output } = await migrateCommand(['--help'], 'sqlite:/nowhere/cabs.db');
    expect({ code, first: output.split('\n')[0] }).toEqual({
      code: 0,
      first: 'npm run migrate [-- --status | --sql | --help]',
    });
  });

  it('prints one line when it fails', async () => {
    const failed = await migrateCommand([], 'mysql://cabs:secret@db/cabs');
    expect(failed).toEqual({
      code: 1,
      output:
        'Invalid environment variable DATABASE_URL: expected sqlite:<path of a file> or ' +
        'postgres://user:password@host:port/database.\n',
    });
  });

  it("lists the owners when TypeORM's command line is called without one", async () => {
    const { code, output } = await typeorm('', await DATABASES[0]!.fresh(), 'migration:show');
    expect(code).toBe(1);
    expect(output).toContain(
      'Invalid environment variable MIGRATIONS_OWNER: expected one of rides, geolocation, drivers, loyalty, invoicing, clients, mesh.',
    );
  });
});

/** Tables, columns and indexes, independent of the text of the statements that created them. */
async function schemaOf(location: string): Promise<unknown[]> {
  const connection = await connect(location);
  try {
    if (location.startsWith('sqlite:'))
      return await connection.all('SELECT name, sql FROM sqlite_master ORDER BY name');
    const columns = await connection.all(
      `SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity
       FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, column_name`,
    );
    const indexes = await connection.all(
      `SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname`,
    );
    return [...columns, ...indexes];
  } finally {
    await connection.close();
  }
}
