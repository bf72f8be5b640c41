import { setTimeout as wait } from 'node:timers/promises';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { eventually } from '../support/cabs.js';
import { call, prepareRides, REACHED, runConcurrently, startServer, type ServerProcess } from '../support/server.js';
import { ONE_DATABASE } from '../support/thorough.js';

const TRANSITS = 80;
const KILLS = 4;

interface Transit {
  readonly status: string;
  readonly settlementSince?: string;
}

describe.each(ONE_DATABASE)('A server process on $kind', ({ fresh }) => {
  let databaseUrl: string;
  let server: ServerProcess;

  beforeEach(async () => {
    databaseUrl = await fresh();
    server = await startServer({ DATABASE_URL: databaseUrl, SHUTDOWN_GRACE: 'PT2M' });
  });
  afterEach(async () => {
    if (server.process.exitCode === null && server.process.signalCode === null) await server.end('SIGKILL');
  });

  it('settles every accepted transit once when it is killed at random moments under load', async () => {
    const transits = await prepareRides(server.url, TRANSITS);
    const accepted = new Set<string>();
    let finished = false;
    const complete = async (transit: string) => {
      while (!accepted.has(transit)) {
        try {
          await call('POST', `${server.url}/transits/${transit}/complete`, REACHED);
          accepted.add(transit);
        } catch {
          // Without a response, users try again.
          await wait(20);
        }
      }
    };
    const load = runConcurrently(12, TRANSITS, (index) => complete(transits[index]!)).then(() => (finished = true));
    for (let kill = 0; kill < KILLS; kill++) {
      await wait(20 + Math.random() * 150);
      await server.end('SIGKILL');
      server = await startServer({ DATABASE_URL: databaseUrl });
    }
    await load;
    expect(finished).toBe(true);

    const isSettled = ({ status, settlementSince }: Transit) => status === 'COMPLETED' && !settlementSince;
    const read = async (transit: string) => (await call<Transit>('GET', `${server.url}/transits/${transit}`)).body;
    for (const transit of transits) await eventually(() => read(transit), isSettled);
    const outbox = async () => (await call<Record<string, unknown>>('GET', `${server.url}/mesh/outbox`)).body;
    await eventually(outbox, ({ pending, deadLetters }) => pending === 0 && deadLetters === 0);
    expect(await server.end('SIGTERM')).toBe(0);
    expect(await effects(databaseUrl)).toEqual({
      invoices: TRANSITS,
      fees: TRANSITS,
      miles: TRANSITS,
      transactions: TRANSITS,
      occupied: 0,
    });
  });

  it('responds to open requests, delivers ready messages and exits with 0 after SIGTERM under load', async () => {
    const transits = await prepareRides(server.url, 60);
    const responses = runConcurrently(20, transits.length, (index) =>
      call('POST', `${server.url}/transits/${transits[index]!}/complete`, REACHED).then(
        () => 'accepted',
        (error: Error) => error.message,
      ),
    );
    await wait(40);
    expect(await server.end('SIGTERM')).toBe(0);
    const errors = (await responses).filter((response) => response !== 'accepted');
    // Late connections are refused. Each request that was read gets its response.
    expect(errors.filter((error) => !/fetch failed/.test(error))).toEqual([]);
    const { sql, close } = await open(databaseUrl);
    const [pending] = await sql.all<{ n: string }>('SELECT COUNT(*) AS n FROM mesh_outbox');
    const [deliveries] = await sql.all<{ n: string }>('SELECT COUNT(*) AS n FROM mesh_delivery WHERE attempts = 0');
    await close();
    expect([Number(pending!.n), Number(deliveries!.n)]).toEqual([0, 0]);
  });
});

async function open(database: string) {
  const opened = await Database.open({ database, entities: [], histories: [], migrate: false });
  return { sql: opened.read, close: () => opened.close() };
}

/** Counts the effects of the completed transits. */
async function effects(database: string): Promise<Record<string, number>> {
  const { sql, close } = await open(database);
  const count = async (statement: string) => Number((await sql.all<{ n: string }>(`SELECT ${statement}`))[0]!.n);
  const counted = {
    invoices: await count('COUNT(*) AS n FROM invoicing_invoice'),
    fees: await count('COUNT(*) AS n FROM drivers_fee'),
    miles: await count('COUNT(*) AS n FROM loyalty_miles'),
    transactions: await count('SUM(transactions) AS n FROM loyalty_account'),
    occupied: await count(`COUNT(*) AS n FROM drivers_occupancy WHERE state = 'OCCUPIED'`),
  };
  await close();
  return counted;
}
