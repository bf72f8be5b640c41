import { setTimeout as wait } from 'node:timers/promises';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { atOnce, call, prepareRides, REACHED, startServer, type ServerProcess } from '../support/server.js';

const RIDES = 80;
const KILLS = 4;

interface Ride {
  readonly status: string;
  readonly settlementSince?: string;
}

describe.each(DATABASES)('A real server on $kind', ({ fresh }) => {
  let databaseUrl: string;
  let server: ServerProcess;

  beforeEach(async () => {
    databaseUrl = await fresh();
    server = await startServer({ DATABASE_URL: databaseUrl });
  }, 30_000);
  afterEach(async () => {
    if (server.process.exitCode === null && server.process.signalCode === null) await server.end('SIGKILL');
  });

  it('killed at random moments under load, it settles every ride that it answered for, once', async () => {
    const rides = await prepareRides(server.url, RIDES);
    const accepted = new Set<string>();
    let finished = false;
    const complete = async (ride: string) => {
      while (!accepted.has(ride)) {
        try {
          await call('POST', `${server.url}/transits/${ride}/complete`, REACHED);
          accepted.add(ride);
        } catch {
          // Not answered: the user tries again, as users do.
          await wait(20);
        }
      }
    };
    const load = atOnce(12, RIDES, (index) => complete(rides[index]!)).then(() => (finished = true));
    for (let kill = 0; kill < KILLS; kill++) {
      await wait(20 + Math.random() * 150);
      await server.end('SIGKILL');
      server = await startServer({ DATABASE_URL: databaseUrl });
    }
    await load;
    expect(finished).toBe(true);

    const isSettled = ({ status, settlementSince }: Ride) => status === 'COMPLETED' && !settlementSince;
    const read = async (ride: string) => (await call<Ride>('GET', `${server.url}/transits/${ride}`)).body;
    for (const ride of rides) await eventually(() => read(ride), isSettled, 20_000);
    const outbox = async () => (await call<Record<string, unknown>>('GET', `${server.url}/mesh/outbox`)).body;
    await eventually(outbox, ({ pending, deadLetters }) => pending === 0 && deadLetters === 0);
    expect(await server.end('SIGTERM')).toBe(0);
    expect(await effects(databaseUrl)).toEqual({
      invoices: RIDES,
      fees: RIDES,
      miles: RIDES,
      transactions: RIDES,
      occupied: 0,
    });
  }, 120_000);

  it('asked to end under load, it answers what it has begun, delivers what is ready and exits with 0', async () => {
    const rides = await prepareRides(server.url, 60);
    const answers = atOnce(20, rides.length, (index) =>
      call('POST', `${server.url}/transits/${rides[index]!}/complete`, REACHED).then(
        () => 'accepted',
        (error: Error) => error.message,
      ),
    );
    await wait(40);
    expect(await server.end('SIGTERM')).toBe(0);
    const refused = (await answers).filter((answer) => answer !== 'accepted');
    // Connections that came too late are refused; nothing that was read is left without its answer.
    expect(refused.filter((reason) => !/fetch failed/.test(reason))).toEqual([]);
    const { sql, close } = await open(databaseUrl);
    const [pending] = await sql.all<{ n: string }>('SELECT COUNT(*) AS n FROM mesh_outbox');
    const [deliveries] = await sql.all<{ n: string }>('SELECT COUNT(*) AS n FROM mesh_delivery WHERE attempts = 0');
    await close();
    expect([Number(pending!.n), Number(deliveries!.n)]).toEqual([0, 0]);
  }, 60_000);
});

async function open(database: string) {
  const opened = await Database.open({ database, entities: [], histories: [], migrate: false });
  return { sql: opened.read, close: () => opened.close() };
}

/** What the completed rides have left behind, counted where it is. */
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
