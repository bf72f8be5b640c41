import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect } from '../support/notes.js';
import { effectsIn } from '../support/processes.js';
import { previousRelease } from '../support/releases.js';
import { call, prepareRides, REACHED, runConcurrently, startServer, type LoggingServer } from '../support/server.js';

interface Ride {
  readonly settlement?: Record<string, string>;
}

/** Rides of each part of a test. */
const RIDES = 6;

describe.each(DATABASES)('Two releases on one database, $kind', ({ kind, fresh }) => {
  const main = previousRelease();
  const running = new Set<LoggingServer>();
  let database: string;

  beforeEach(async () => {
    database = await fresh();
  });
  afterEach(async () => {
    await Promise.all([...running].map((it) => it.end('SIGKILL')));
    running.clear();
  });

  const start = async (release: 'previous' | 'present') => {
    const environment = { DATABASE_URL: database, LOG_LEVEL: 'warn' };
    const server = await startServer(environment, release === 'previous' ? main : undefined);
    running.add(server);
    return server;
  };
  const complete = (servers: readonly LoggingServer[], rides: readonly string[]) =>
    runConcurrently(RIDES, rides.length, async (index) => {
      const { url } = servers[index % servers.length]!;
      await call('POST', `${url}/transits/${rides[index]!}/complete`, REACHED);
    });
  const settled = async ({ url }: LoggingServer, rides: readonly string[]) => {
    for (const ride of rides) {
      await eventually(
        async () => (await call<Ride>('GET', `${url}/transits/${ride}`)).body,
        ({ settlement }) => settlement !== undefined && Object.values(settlement).every((it) => it === 'settled'),
      );
    }
  };
  /** As a migration of the next release does. */
  const addColumns = async () => {
    const connection = await connect(database);
    const tables = await connection.all<{ name: string }>(
      kind === 'sqlite'
        ? `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'`
        : `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`,
    );
    expect(tables.length).toBeGreaterThan(15);
    for (const { name } of tables) await connection.run(`ALTER TABLE ${name} ADD COLUMN of_next_release text`);
    await connection.close();
  };
  const expectOnce = async (server: LoggingServer, rides: number) => {
    expect((await call('GET', `${server.meshUrl}/mesh/outbox`)).body).toMatchObject({ deadLetters: 0 });
    expect(await effectsIn([database])).toMatchObject({ invoices: rides, fees: rides, miles: rides, occupied: 0 });
    for (const it of running) expect(it.lines().filter((line) => /cached plan|does not exist/.test(line))).toEqual([]);
  };

  // A SQLite file has one process at a time.
  if (kind === 'postgres') {
    it('both work on it at the same time, also while the next release adds columns', async () => {
      const servers = [await start('previous'), await start('present')];
      const rides = await prepareRides(servers[0]!.url, 3 * RIDES);
      await complete(servers, rides.slice(0, RIDES));
      await addColumns();
      await complete(servers, rides.slice(RIDES, 2 * RIDES));
      await complete(servers.toReversed(), rides.slice(2 * RIDES));
      for (const server of servers) await settled(server, rides);
      await expectOnce(servers[1]!, rides.length);
    }, 120_000);
  }

  it('a release takes over what the other one left, and the other way round', async () => {
    let server = await start('previous');
    const rides = await prepareRides(server.url, 3 * RIDES);
    for (const [part, release] of (['present', 'previous', 'present'] as const).entries()) {
      await complete([server], rides.slice(part * RIDES, (part + 1) * RIDES));
      await server.end('SIGKILL');
      if (part === 1) await addColumns();
      server = await start(release);
    }
    await settled(server, rides);
    await expectOnce(server, rides.length);
  }, 120_000);
});
