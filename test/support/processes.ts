import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { MODULE_NAMES, MODULES } from '../../src/app.module.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import type { ChannelKind } from '../../tools/broker/channel.js';
import { startGateway, type Gateway } from '../../tools/gateway.js';
import { routesOf } from '../../tools/gateway/routes.js';
import { ROOT } from '../../tools/source.js';
import { freePort } from '../../tools/ports.js';
import { eventually } from './cabs.js';
import { connect } from './notes.js';
import { call, startServer, type ServerProcess } from './server.js';
import { Recorder } from './broker-requests.js';
import type { Route, Transport } from './transports.js';

/*
 * The application in real processes, on each transport: one process; one process, a laptop broker and the dead letter
 * process; or a process for each module, the broker, the dead letter process and a gateway.
 */

/** A process that can be killed and started again, at the same address and on the same database. */
interface Service {
  readonly name: string;
  readonly url: string;
  readonly database: string;
  process: ServerProcess;
  start(): Promise<ServerProcess>;
}

export class Deployment {
  readonly transport: Transport;
  readonly services = new Map<string, Service>();
  /** A subscriber of all messages. */
  private readonly recorder = new Recorder();
  private readonly ports = new Map<string, number>();
  private readonly databases = new Map<string, string>();
  readonly brokerDatabase = `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-broker-')), 'mesh.db')}`;
  private gateway?: Gateway;

  /**
   * @param fresh creates an empty database
   * @param environment variables of all processes of the application
   * @param delivery fields of the delivery spec of the Broker that differ from the manifests
   */
  constructor(
    private readonly route: Route,
    private readonly fresh: () => Promise<string>,
    private readonly environment: Record<string, string> = {},
    private readonly delivery: object = {},
  ) {
    this.transport = route.transport;
  }

  /** The URL of the application: the gateway where there is one. */
  get url(): string {
    return this.gateway?.url ?? this.urlOf('cabs');
  }

  /** The databases of the modules, without those of the broker and of the dead letter process. */
  get moduleDatabases(): string[] {
    return [...this.services.values()].filter(({ name }) => !MESH_SERVICES.has(name)).map(({ database }) => database);
  }

  async start(): Promise<this> {
    const names = this.transport === 'split' ? MODULE_NAMES : ['cabs'];
    for (const name of [...names, 'broker', 'dead-letters']) {
      if (!this.ports.has(name)) this.ports.set(name, await freePort());
    }
    if (this.transport !== 'in-process') {
      await this.recorder.start();
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
    await Promise.all([...this.services.values()].map(({ process }) => process.end(signal)));
    this.services.clear();
    if (this.transport !== 'in-process') await this.recorder.stop();
  }

  /** Kills a process with SIGKILL and starts it again. */
  async killAndRestart(name: string): Promise<void> {
    const service = this.services.get(name)!;
    await service.process.end('SIGKILL');
    service.process = await service.start();
  }

  /** Numbers of pending messages and dead letters, summed over all processes. */
  async statistics(): Promise<{ pending: number; deadLetters: number }> {
    const requests = [...this.services.values()].map(async ({ url }) => {
      return (await call<{ pending: number; deadLetters: number }>('GET', `${url}/mesh/outbox`)).body;
    });
    const all = await Promise.all(requests);
    const sum = (field: 'pending' | 'deadLetters') => all.reduce((total, it) => total + it[field], 0);
    return { pending: sum('pending'), deadLetters: sum('deadLetters') };
  }

  /** Waits until no message is pending. Reads three times, because a message may move between two processes. */
  async idle(): Promise<{ deadLetters: number }> {
    let idleReads = 0;
    return eventually(
      () => this.statistics(),
      ({ pending }) => (idleReads = pending === 0 ? idleReads + 1 : 0) >= 3,
    );
  }

  /** Records all messages of the modules from now on, and forgets what the broker has forwarded. */
  async record(): Promise<void> {
    this.recorder.received.length = 0;
    for (const database of this.moduleDatabases) {
      const connection = await connect(database);
      const kind = database.startsWith('sqlite:') ? 'sqlite' : 'postgres';
      for (const statement of RECORDER[kind]) await connection.run(statement);
      await connection.close();
    }
  }

  /** The messages that the modules have sent since `record()`. */
  recorded(): Promise<CloudEvent[]> {
    return read(this.moduleDatabases);
  }

  /** The headers of the messages that the broker has forwarded since `record()`. */
  get forwarded(): Record<string, string>[] {
    return this.recorder.received.map(({ headers }) => headers);
  }

  /** Inserts a dead letter of a process, as for an event that the broker has rejected. */
  async insertDeadLetter(name: string, event: CloudEvent): Promise<void> {
    const connection = await connect(this.services.get(name)!.database);
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
    const urlOfModule = (module: string) => this.urlOf(this.transport === 'split' ? module : 'cabs');
    const broker = {
      MESH_TRANSPORT: 'knative',
      K_SINK: `${this.urlOf('broker')}/cabs/default`,
      ...Object.fromEntries(MODULE_NAMES.map((module) => [`USVC_${module.toUpperCase()}`, urlOfModule(module)])),
      ...(modules && { MODULES: modules }),
    };
    const environment = {
      DATABASE_URL: database,
      PORT: String(this.ports.get(name)),
      ...this.environment,
      ...(this.transport !== 'in-process' && broker),
    };
    await this.add(name, database, () => startServer(environment));
  }

  private async add(name: string, database: string, start: () => Promise<ServerProcess>): Promise<void> {
    this.services.set(name, { name, database, start, url: this.urlOf(name), process: await start() });
  }

  /** The manifests of the cluster, and a Trigger for the recorder. */
  private recordedManifests(deployment: 'monolith' | 'split'): string {
    const folder = mkdtempSync(join(tmpdir(), 'cabs-manifests-'));
    cpSync(join(ROOT, 'deploy/knative', deployment), folder, { recursive: true });
    const brokerFile = join(folder, 'broker.yaml');
    const broker = parse(readFileSync(brokerFile, 'utf8')) as { spec: { delivery: object } };
    Object.assign(broker.spec.delivery, this.delivery);
    writeFileSync(brokerFile, stringify(broker));
    const trigger = {
      apiVersion: 'eventing.knative.dev/v1',
      kind: 'Trigger',
      metadata: { name: 'recorder', namespace: 'cabs' },
      spec: { broker: 'default', subscriber: { uri: this.recorder.url } },
    };
    writeFileSync(join(folder, 'recorder.yaml'), JSON.stringify(trigger));
    return folder;
  }

  private startBroker(): Promise<ServerProcess> {
    const isSplit = this.transport === 'split';
    const services = [...(isSplit ? MODULE_NAMES : ['cabs']), 'dead-letters'];
    return startBrokerProcess({
      port: this.ports.get('broker')!,
      database: this.brokerDatabase,
      manifests: this.recordedManifests(isSplit ? 'split' : 'monolith'),
      channel: this.route.channel,
      services: Object.fromEntries(services.map((name) => [name, this.urlOf(name)])),
    });
  }
}

const MESH_SERVICES = new Set(['broker', 'dead-letters']);

/** Runs `npm run mesh` in a process of its own. */
export async function startBrokerProcess(options: {
  port: number;
  database: string;
  manifests: string;
  channel?: ChannelKind;
  services: Record<string, string>;
}): Promise<ServerProcess> {
  const { port, database, manifests, channel = 'synchronous', services } = options;
  const serviceOptions = Object.entries(services).flatMap(([name, url]) => ['--service', `${name}=${url}`]);
  const words = { port: String(port), database, manifests, channel };
  const args = Object.entries(words).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'tools/meshy.ts', 'broker', ...args, '--quiet', ...serviceOptions],
    {
      cwd: ROOT,
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const url = `http://127.0.0.1:${port}`;
  for (let requests = 0; ; requests++) {
    if (child.exitCode !== null || requests > 1200) throw new Error(`The broker does not listen:\n${output}`);
    const isListening = await fetch(`${url}/mesh/outbox`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isListening) break;
    await wait(50);
  }
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return exited;
  };
  return { url, meshUrl: url, process: child, end };
}

const RECORDER = {
  sqlite: [
    'CREATE TABLE recorded (event text NOT NULL)',
    `CREATE TRIGGER recorder AFTER INSERT ON mesh_outbox BEGIN INSERT INTO recorded VALUES (NEW.event); END`,
    `CREATE TRIGGER deliveries AFTER INSERT ON mesh_delivery BEGIN INSERT INTO recorded VALUES (NEW.event); END`,
  ],
  postgres: [
    'CREATE TABLE recorded (event text NOT NULL)',
    `CREATE FUNCTION record_event() RETURNS trigger LANGUAGE plpgsql AS
     'BEGIN INSERT INTO recorded VALUES (NEW.event); RETURN NEW; END'`,
    `CREATE TRIGGER recorder AFTER INSERT ON mesh_outbox FOR EACH ROW EXECUTE FUNCTION record_event()`,
    `CREATE TRIGGER deliveries AFTER INSERT ON mesh_delivery FOR EACH ROW EXECUTE FUNCTION record_event()`,
  ],
};

async function read(databases: readonly string[]): Promise<CloudEvent[]> {
  const events = new Map<string, CloudEvent>();
  for (const database of databases) {
    const connection = await connect(database);
    for (const row of await connection.all<{ event: string }>('SELECT event FROM recorded')) {
      const event = JSON.parse(row.event) as CloudEvent;
      events.set(event.id, event);
    }
    await connection.close();
  }
  return [...events.values()];
}

/** Counts the effects of completed transits in the databases of the modules. */
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
    for (const [effect, count] of Object.entries(counts)) {
      const rows = await connection.all<{ n: string | null }>(`SELECT ${count}`).catch((error: Error) => {
        // Another database holds the tables of this module.
        if (/no such table|does not exist/.test(error.message)) return [];
        throw error;
      });
      if (rows[0]) total[effect] = (total[effect] ?? 0) + Number(rows[0].n ?? 0);
    }
    await connection.close();
  }
  return total;
}
