import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import BetterSqlite3 from 'better-sqlite3';
import pg from 'pg';
import { eventually } from '../support/cabs.js';
import { call, prepareRides, REACHED, startServer, type ServerProcess } from '../support/server.js';
import { ONE_DATABASE } from '../support/thorough.js';

interface Transit {
  readonly status: string;
  readonly settlement: Record<string, string>;
  readonly settlementSince?: string;
}

/** Runs statements over a connection of its own, as an operator would. */
async function execute(database: string, statements: string[]): Promise<void> {
  if (database.startsWith('sqlite:')) {
    const db = new BetterSqlite3(database.replace('sqlite:', ''), { timeout: 5000 });
    for (const statement of statements) db.exec(statement);
    db.close();
    return;
  }
  const client = new pg.Client({ connectionString: database });
  await client.connect();
  for (const statement of statements) await client.query(statement);
  await client.end();
}

const BREAK_LOYALTY = {
  sqlite: [
    `CREATE TRIGGER broken BEFORE INSERT ON loyalty_miles BEGIN SELECT RAISE(ABORT, 'loyalty is out of order'); END`,
  ],
  postgres: [
    `CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''loyalty is out of order''; END'`,
    `CREATE TRIGGER broken BEFORE INSERT ON loyalty_miles FOR EACH ROW EXECUTE FUNCTION broken()`,
  ],
};
const REPAIR_LOYALTY = { sqlite: ['DROP TRIGGER broken'], postgres: ['DROP TRIGGER broken ON loyalty_miles'] };

const CLI = fileURLToPath(new URL('../../tools/meshy.ts', import.meta.url));
const TSX = fileURLToPath(new URL('../../node_modules/.bin/tsx', import.meta.url));

describe.each(ONE_DATABASE)('An application whose loyalty module fails on $kind', ({ kind, fresh }) => {
  let database: string;
  let server: ServerProcess;
  let log = '';

  beforeAll(async () => {
    database = await fresh();
    server = await startServer({ DATABASE_URL: database, MESH_RETRY: '3', MESH_BACKOFF_DELAY: 'PT0.02S' });
    for (const stream of [server.process.stdout!, server.process.stderr!]) {
      stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
    }
  });
  afterAll(async () => {
    await server.end('SIGTERM');
  });

  const read = async (transit: string) => (await call<Transit>('GET', `${server.url}/transits/${transit}`)).body;
  const statistics = async () =>
    (await call<{ pending: number; deadLetters: number }>('GET', `${server.url}/mesh/outbox`)).body;
  const cli = async (...args: string[]) =>
    (await promisify(execFile)(TSX, [CLI, 'dead-letters', ...args, '--url', server.url], { encoding: 'utf8' })).stdout;

  it('completes transits and settles all but the miles, and settles the miles by a replay after the repair', async () => {
    const transits = await prepareRides(server.url, 3);
    await execute(database, BREAK_LOYALTY[kind]);
    for (const transit of transits) {
      const reply = await call('POST', `${server.url}/transits/${transit}/complete`, REACHED);
      expect(reply.status).toBe(202);
    }
    await eventually(statistics, ({ pending, deadLetters }) => pending === 0 && deadLetters === 3);
    for (const transit of transits) {
      expect(await read(transit)).toMatchObject({
        status: 'COMPLETED',
        settlement: { driverFee: 'settled', driverFreed: 'settled', miles: 'pending', invoice: 'settled' },
        settlementSince: expect.any(String),
      });
    }
    expect(await cli('list', '--by', 'cause')).toMatch(/loyalty\W+cabs.loyalty.register-miles.*out of order.*3/);
    const listed = await cli('list');
    expect(listed).toContain('after 4 tries');
    const [first] = /[0-9a-f-]{36}/.exec(listed)!;
    expect(JSON.parse(await cli('show', first))).toMatchObject({ id: first, consumer: 'loyalty' });
    const unknown = cli('show', crypto.randomUUID());
    await expect(unknown).rejects.toThrow('There is no dead letter');

    await execute(database, REPAIR_LOYALTY[kind]);
    expect(await cli('replay', first)).toContain('Replayed: 1');
    expect(await cli('replay', '--all', '--consumer', 'loyalty')).toContain('Replayed: 2');
    await eventually(statistics, ({ pending, deadLetters }) => pending === 0 && deadLetters === 0);
    for (const transit of transits) {
      const { settlement, settlementSince } = await read(transit);
      expect(settlement.miles).toBe('settled');
      expect(settlementSince).toBeUndefined();
    }
  });

  it('logs the correlation id in every line about a request, and nothing while idle', async () => {
    const [transit] = await prepareRides(server.url, 1);
    log = '';
    const id = `request-${kind}`;
    await call('POST', `${server.url}/transits/${transit}/complete`, REACHED, { 'x-correlation-id': id });
    await eventually(
      () => read(transit!),
      ({ settlementSince }) => !settlementSince,
    );
    await eventually(
      async () => log.split('\n').filter((line) => line.includes('handled')).length,
      (lines) => lines === 11,
    );
    const about = log.split('\n').filter((line) => line.includes(transit!) && !/"GET"|\/start"/.test(line));
    expect(about).toHaveLength(12);
    expect(about.filter((line) => !line.includes(id))).toEqual([]);
    // The line of the last request may come late.
    await eventually(
      async () => {
        log = '';
        await wait(300);
        return log;
      },
      (lines) => lines === '',
    );
    await wait(2500);
    expect(log).toBe('');
  });
});
