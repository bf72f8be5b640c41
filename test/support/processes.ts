import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { MODULE_NAMES, MODULES } from '../../src/app.module.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { startGateway, type Gateway } from '../../tools/gateway.js';
import { routesOf } from '../../tools/gateway/routes.js';
import { ROOT } from '../../tools/source.js';
import { freePort } from '../../tools/ports.js';
import { eventually } from './cabs.js';
import { connect } from './notes.js';
import { call, startServer, type ServerProcess } from './server.js';
import type { Transport } from './transports.js';

/*
 * The application in real processes, on each transport: one process; one process, a laptop broker and the dead letters;
 * a process for each module, the broker, the dead letters and a gateway.
 */

/** A process that can be killed and started again, at the same address and on the same database. */
interface Member {
  readonly name: string;
  readonly url: string;
  readonly database: string;
  process: ServerProcess;
  start(): Promise<ServerProcess>;
}

export class Deployment {
  readonly members = new Map<string, Member>();
  private readonly ports = new Map<string, number>();
  private readonly databases = new Map<string, string>();
  readonly brokerDatabase = `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-broker-')), 'mesh.db')}`;
  private gateway?: Gateway;

  /**
   * @param fresh makes an empty database
   * @param environment of all processes of the application
   */
  constructor(
    readonly transport: Transport,
    private readonly fresh: () => Promise<string>,
    private readonly environment: Record<string, string> = {},
  ) {}

  /** The one address of the application. */
  get url(): string {
    return this.gateway?.url ?? this.urlOf('cabs');
  }

  /** The databases of the modules; those of the broker and the dead letters hold nothing of theirs. */
  get moduleDatabases(): string[] {
    return [...this.members.values()].filter(({ name }) => !OF_THE_MESH.has(name)).map(({ database }) => database);
  }

  async start(): Promise<this> {
    const names = this.transport === 'split' ? MODULE_NAMES : ['cabs'];
    for (const name of [...names, 'broker', 'dead-letters']) {
      if (!this.ports.has(name)) this.ports.set(name, await freePort());
    }
    if (this.transport !== 'in-process') {
      await this.add('broker', this.brokerDatabase, () => this.startBroker());
      await this.host('dead-letters', 'none');
    }
    await Promise.all(names.map((name) => this.host(name, name === 'cabs' ? undefined : name)));
    if (this.transport === 'split') {
      const modules = Object.fromEntries(MODULE_NAMES.map((name) => [name, this.urlOf(name)]));
      const others = { deadLetters: this.urlOf('dead-letters'), broker: this.urlOf('broker') };
      this.gateway = await startGateway({ routes: routesOf(MODULES), modules, ...others, port: 0 });
    }
    return this;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.gateway?.stop();
    this.gateway = undefined;
    await Promise.all([...this.members.values()].map(({ process }) => process.end(signal)));
    this.members.clear();
  }

  /** Ends a process without warning, and starts it again. */
  async killAndRestart(name: string): Promise<void> {
    const member = this.members.get(name)!;
    await member.process.end('SIGKILL');
    member.process = await member.start();
  }

  /** Messages on their way, wherever, and those that were given up. */
  async statistics(): Promise<{ pending: number; deadLetters: number }> {
    const told = [...this.members.values()].map(async ({ url }) => {
      return (await call<{ pending: number; deadLetters: number }>('GET', `${url}/mesh/outbox`)).body;
    });
    const all = await Promise.all(told);
    const sum = (what: 'pending' | 'deadLetters') => all.reduce((total, it) => total + it[what], 0);
    return { pending: sum('pending'), deadLetters: sum('deadLetters') };
  }

  /** Waits until nothing is on its way: also what leaves one process to arrive at another. */
  async idle(ms = 20_000): Promise<{ deadLetters: number }> {
    let quiet = 0;
    return eventually(
      () => this.statistics(),
      ({ pending }) => (quiet = pending === 0 ? quiet + 1 : 0) >= 3,
      ms,
    );
  }

  /** From now on, all that modules send is written down. */
  async record(): Promise<void> {
    for (const database of [...this.moduleDatabases, ...(this.members.has('broker') ? [this.brokerDatabase] : [])]) {
      const connection = await connect(database);
      const kind = database.startsWith('sqlite:') ? 'sqlite' : 'postgres';
      for (const statement of RECORDER[kind]) await connection.run(statement);
      await connection.close();
    }
  }

  /** What modules have sent since. */
  recorded(): Promise<CloudEvent[]> {
    return read(this.moduleDatabases);
  }

  /** What the broker has accepted since. */
  accepted(): Promise<(CloudEvent & { knativebrokerttl?: string })[]> {
    return read([this.brokerDatabase]);
  }

  /** Puts an event among the dead letters of a process, as one that the broker has refused. */
  async bury(name: string, event: CloudEvent): Promise<void> {
    const connection = await connect(this.members.get(name)!.database);
    await connection.run(
      `INSERT INTO mesh_dead_letter (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at)
       VALUES ('${randomUUID()}', 'k-sink', '${event.id}', '${event.type}', '${event.subject}',
               '${JSON.stringify(event)}', 1, 'Error: no', 'Error: no', ${Date.now()})`,
    );
    await connection.close();
  }

  private urlOf(name: string): string {
    return `http://127.0.0.1:${this.ports.get(name)}`;
  }

  private async host(name: string, modules: string | undefined): Promise<void> {
    if (!this.databases.has(name)) this.databases.set(name, await this.fresh());
    const database = this.databases.get(name)!;
    const home = (module: string) => this.urlOf(this.transport === 'split' ? module : 'cabs');
    const broker = {
      ...{ MESH_TRANSPORT: 'knative', K_SINK: `${this.urlOf('broker')}/cabs/default` },
      ...Object.fromEntries(MODULE_NAMES.map((module) => [`USVC_${module.toUpperCase()}`, home(module)])),
      ...(modules && { MODULES: modules }),
    };
    const environment = {
      ...{ DATABASE_URL: database, PORT: String(this.ports.get(name)), ...this.environment },
      ...(this.transport !== 'in-process' && broker),
    };
    await this.add(name, database, () => startServer(environment));
  }

  private async add(name: string, database: string, start: () => Promise<ServerProcess>): Promise<void> {
    this.members.set(name, { name, database, start, url: this.urlOf(name), process: await start() });
  }

  private startBroker(): Promise<ServerProcess> {
    const isSplit = this.transport === 'split';
    const services = [...(isSplit ? MODULE_NAMES : ['cabs']), 'dead-letters'];
    return startBrokerProcess({
      port: this.ports.get('broker')!,
      database: this.brokerDatabase,
      manifests: `deploy/knative/${isSplit ? 'split' : 'monolith'}`,
      services: Object.fromEntries(services.map((name) => [name, this.urlOf(name)])),
    });
  }
}

const OF_THE_MESH = new Set(['broker', 'dead-letters']);

/** `npm run mesh`, as a process of its own. */
export async function startBrokerProcess(options: {
  port: number;
  database: string;
  manifests: string;
  services: Record<string, string>;
}): Promise<ServerProcess> {
  const { port, database, manifests, services } = options;
  const where = Object.entries(services).flatMap(([name, url]) => ['--service', `${name}=${url}`]);
  const words = ['--port', String(port), '--database', database, '--manifests', manifests, '--quiet', ...where];
  const child = spawn(process.execPath, ['--import', 'tsx', 'tools/mesh.ts', ...words], {
    cwd: ROOT,
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const url = `http://127.0.0.1:${port}`;
  for (let looks = 0; ; looks++) {
    if (child.exitCode !== null || looks > 400) throw new Error(`The broker does not listen:\n${output}`);
    const isThere = await fetch(`${url}/mesh/outbox`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isThere) break;
    await wait(50);
  }
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const gone = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return gone;
  };
  return { url, process: child, end };
}

const RECORDER = {
  sqlite: [
    'CREATE TABLE recorded (event text NOT NULL)',
    `CREATE TRIGGER recorder AFTER INSERT ON mesh_outbox BEGIN INSERT INTO recorded VALUES (NEW.event); END`,
  ],
  postgres: [
    'CREATE TABLE recorded (event text NOT NULL)',
    `CREATE FUNCTION record_event() RETURNS trigger LANGUAGE plpgsql AS
     'BEGIN INSERT INTO recorded VALUES (NEW.event); RETURN NEW; END'`,
    `CREATE TRIGGER recorder AFTER INSERT ON mesh_outbox FOR EACH ROW EXECUTE FUNCTION record_event()`,
  ],
};

async function read(databases: readonly string[]): Promise<CloudEvent[]> {
  const events: CloudEvent[] = [];
  for (const database of databases) {
    const connection = await connect(database);
    const rows = await connection.all<{ event: string }>('SELECT event FROM recorded');
    events.push(...rows.map(({ event }) => JSON.parse(event) as CloudEvent));
    await connection.close();
  }
  return events;
}

/** What completed rides have left behind, counted in the databases of those who own it. */
export async function effectsIn(databases: readonly string[]): Promise<Record<string, number>> {
  const counts = {
    invoices: 'COUNT(*) AS n FROM invoicing_invoice',
    fees: 'COUNT(*) AS n FROM drivers_fee',
    miles: 'COUNT(*) AS n FROM loyalty_miles',
    transactions: 'SUM(transactions) AS n FROM loyalty_account',
    occupied: `COUNT(*) AS n FROM drivers_occupancy WHERE state = 'OCCUPIED'`,
  };
  const total: Record<string, number> = {};
  for (const database of databases) {
    const connection = await connect(database);
    for (const [what, count] of Object.entries(counts)) {
      const rows = await connection.all<{ n: string | null }>(`SELECT ${count}`).catch((error: Error) => {
        // The module lives elsewhere.
        if (/no such table|does not exist/.test(error.message)) return [];
        throw error;
      });
      if (rows[0]) total[what] = (total[what] ?? 0) + Number(rows[0].n ?? 0);
    }
    await connection.close();
  }
  return total;
}
