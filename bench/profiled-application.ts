import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { insert, type NamedDatabase } from '../faults/databases.js';
import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import { Child } from '../tools/mesh-up/child.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import { Users } from '../workshop/lab/load.js';
import { manyRides, rideRows } from '../workshop/runner/fixtures.js';
import { processPlanner } from '../workshop/runner/process-planner.js';
import { folderOf, STEPS } from '../workshop/runner/steps.js';
import { serverMs } from './processor-time.js';
import { completeAndSettle, PENDING, QUIET } from './transit-load.js';

/** A statement that the application executed. */
export interface NotedStatement {
  /** The type and consumer of the message whose handler ran; '' outside of handlers. */
  readonly message: string;
  readonly text: string;
  readonly count: number;
  /** Executions that waited for the database on their own; 0 on SQLite. */
  readonly roundTrips: number;
  /** Time inside of SQLite, which runs in the process; 0 on PostgreSQL. */
  readonly ms: number;
}

/** What rides cost. */
export interface Costs {
  readonly rides: number;
  /** From the first request until all messages are handled. */
  readonly ms: number;
  readonly statements: readonly NotedStatement[];
  /** Processor time of the application, in ms. */
  readonly cpuMs: number;
  /** Processor time of PostgreSQL, in ms; 0 on SQLite. */
  readonly serverMs: number;
  /** Time of each source file itself, in ms; absent without `cpu`. */
  readonly selfMs?: Readonly<Record<string, number>>;
}

const AGENT = pathToFileURL(join(ROOT, 'bench/profile-agent.mjs')).href;
/** The step that runs the compiled application in one process with one database. */
const APPLICATION = 7;
/** Longest wait until the process is ready, in ms. */
const START_MS = 30_000;

/** The compiled application as one process, with an agent inside that notes what it does. */
export class ProfiledApplication {
  private rounds = 0;
  private answered?: (message: object) => void;
  private readonly child: Child;
  private readonly users: Users;

  private constructor(
    private readonly database: NamedDatabase,
    data: string,
    port: number,
  ) {
    const planner = processPlanner(folderOf(STEPS[APPLICATION]!), data, port);
    const planned = planner.application('cabs', { DATABASE_URL: database.url });
    const environment = { ...QUIET, NODE_OPTIONS: `${QUIET.NODE_OPTIONS ?? ''} --import=${AGENT}` };
    this.child = new Child(planned, environment, {
      line: (_, line, from) => from === 'stderr' && process.stderr.write(`${line}\n`),
      died: (_, how) => process.stderr.write(`The application ${how}\n`),
      started: () => undefined,
      message: (_, message) => this.answered?.(message as object),
    });
    this.users = new Users(planned.url);
  }

  /** @param data a path for files of the process */
  static async open(database: string, data: string): Promise<ProfiledApplication> {
    const application = new ProfiledApplication({ name: 'cabs', url: database }, data, await freePort());
    await application.child.start(START_MS);
    return application;
  }

  /** Completes rides with `users` at a time. @param server the process id of PostgreSQL */
  async settle(rides: number, users: number, { cpu = false, server }: { cpu?: boolean; server?: number } = {}) {
    const transits = manyRides(++this.rounds, rides);
    for (const rows of rideRows(transits, 'modules')) await insert(this.database, rows);
    const watched = await watch(this.database.url);
    await this.ask({ begin: true, cpu });
    const serverSince = server === undefined ? 0 : serverMs(server);
    const ms = await completeAndSettle('The application', this.users, transits, () => watched.pending(), users);
    await watched.close();
    const noted = (await this.ask({ end: true })) as Pick<Costs, 'statements' | 'cpuMs' | 'selfMs'>;
    const onServer = server === undefined ? 0 : serverMs(server) - serverSince;
    return { rides, ms, serverMs: onServer, ...noted } satisfies Costs as Costs;
  }

  async close(): Promise<void> {
    await this.users.leave();
    await this.child.end();
  }

  private ask(message: object): Promise<object> {
    return new Promise((resolve) => {
      this.answered = resolve;
      this.child.send(message);
    });
  }
}

interface Watch {
  pending(): Promise<number>;
  close(): Promise<unknown>;
}

/** Looks for pending messages over a connection of its own. */
async function watch(database: string): Promise<Watch> {
  if (!database.startsWith('sqlite:')) {
    const client = new pg.Client({ connectionString: database });
    await client.connect();
    const pending = async () => (await client.query<{ n: number }>(PENDING)).rows[0]!.n;
    return { pending, close: () => client.end() };
  }
  const db = new BetterSqlite3(database.slice('sqlite:'.length));
  const pending = async () => db.prepare(PENDING).pluck().get() as number;
  return { pending, close: async () => db.close() };
}
