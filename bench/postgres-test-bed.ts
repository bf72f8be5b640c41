import pg from 'pg';
import { insert } from '../faults/databases.js';
import { Child } from '../tools/mesh-up/child.js';
import { freePort } from '../tools/ports.js';
import { Users } from '../workshop/lab/load.js';
import { manyRides, rideRows } from '../workshop/runner/fixtures.js';
import { processPlanner } from '../workshop/runner/process-planner.js';
import { folderOf, type Step } from '../workshop/runner/steps.js';
import { completeAndSettle, PENDING, QUIET, WARM_UP } from './transit-load.js';

/** Longest wait until the process is ready, in ms. */
const START_MS = 30_000;

/** The compiled application on PostgreSQL, and its users. */
export class PostgresTestBed {
  private rounds = 0;

  private constructor(
    private readonly child: Child,
    private readonly users: Users,
    private readonly database: string,
    private readonly client: pg.Client,
  ) {}

  /** @param data a path for files of the process */
  static async open(step: Step, database: string, data: string): Promise<PostgresTestBed> {
    const planner = processPlanner(folderOf(step), data, await freePort());
    const planned = planner.application('cabs', { DATABASE_URL: database });
    const child = new Child(planned, QUIET, SILENT);
    const client = new pg.Client({ connectionString: database });
    const testBed = new PostgresTestBed(child, new Users(planned.url), database, client);
    await child.start(START_MS);
    await client.connect();
    for (let n = 0; n < WARM_UP.times; n++) await testBed.settle(WARM_UP.transits);
    return testBed;
  }

  /** @returns transits per second, as StepTestBed.settle() */
  async settle(howMany: number): Promise<number> {
    const transits = manyRides(++this.rounds, howMany);
    for (const rows of rideRows(transits, 'modules')) await insert({ name: 'cabs', url: this.database }, rows);
    const ms = await completeAndSettle('PostgreSQL', this.users, transits, () => this.count(PENDING));
    const settled = await this.count(SETTLED, [transits.map(({ id }) => id)]);
    if (settled < howMany) throw new Error(`PostgreSQL: ${howMany - settled} transits were not settled`);
    return (1000 * howMany) / ms;
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.client.end();
    await this.child.end();
  }

  private async count(text: string, values: unknown[] = []): Promise<number> {
    return (await this.client.query<{ n: number }>({ text, values })).rows[0]!.n;
  }
}

const SILENT = { line: () => undefined, died: () => undefined, started: () => undefined };

const SETTLED = `
  SELECT COUNT(*)::int AS n FROM rides_transit AS transit
  JOIN invoicing_invoice AS invoice ON invoice.transit_id = transit.id
  JOIN loyalty_miles AS miles ON miles.transit_id = transit.id
  JOIN drivers_occupancy AS occupancy ON occupancy.transit_id = transit.id AND occupancy.state = 'FREED'
  WHERE transit.id = ANY($1) AND transit.status = 'COMPLETED' AND transit.driver_fee IS NOT NULL`;
