import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { executeStatements, type NamedDatabase } from './databases.js';
import { applicationsOf, databaseOf, portsOf, plansOf, type Combination } from './combinations.js';
import { HANDLED_TABLE } from './handlings.js';
import { DeliveryProxy } from './delivery-proxy.js';
import { TcpProxy } from './tcp-proxy.js';
import { Service, type UnexpectedExit } from './service.js';
import { PostgresServer } from './postgres.js';
import type { Random } from './random.js';
import { Volume } from './volume.js';

/** Longest wait until all processes are ready, in ms. */
const READY_MS = 90_000;
/** How long the messages of an overload may take to be handled after recovery, in ms; meanwhile users may be refused. */
const CATCH_UP_MS = 20_000;
/** Messages that have waited for less than this, in ms, are no backlog. */
const NO_BACKLOG_MS = 1000;
/** Size of the file system of the databases, in MB. */
const VOLUME_MB = { sqlite: 192, postgres: 640 };

/** The processes of one combination. The rig controls all connections between them, their clocks and their disk. */
export class TestBed {
  readonly services = new Map<string, Service>();
  /** A TCP proxy in front of each process, by the name of the process. */
  readonly proxies = new Map<string, TcpProxy>();
  /** A proxy between the broker and each process that it delivers to, by the name of the process. */
  readonly deliveryProxies = new Map<string, DeliveryProxy>();
  readonly databases: NamedDatabase[] = [];
  /** Everything that must not happen, beside what is counted. */
  readonly surprises: string[] = [];
  postgres?: PostgresServer;
  postgresProxy?: TcpProxy;
  postgresKills = 0;
  /** The end of the last fault that may keep processes from starting, by `performance.now()`; Infinity during one. */
  startHinderedUntil = -Infinity;

  /** Whether users were refused on purpose: what was accepted before has to be handled first. */
  hadOverload = false;

  private constructor(
    readonly combination: Combination,
    readonly folder: string,
    readonly volume: Volume,
    private readonly random: Random,
  ) {}

  /**
   * @param folder keeps the logs of the run
   * @throws Error when something does not start
   */
  static async open(combination: Combination, folder: string, random: Random): Promise<TestBed> {
    mkdirSync(folder, { recursive: true });
    const volume = Volume.open(join(folder, 'volume'), VOLUME_MB[combination.database]);
    const testBed = new TestBed(combination, folder, volume, random);
    try {
      await testBed.start();
    } catch (error) {
      await testBed.close();
      throw error;
    }
    return testBed;
  }

  /** The addresses that users send their requests to. */
  get urls(): string[] {
    const { transport, isSplit } = this.combination;
    const entryPoints = isSplit ? ['gateway'] : transport === 'replicas' ? ['cabs-1', 'cabs-2'] : ['cabs'];
    return entryPoints.map((name) => this.proxies.get(name)!.url);
  }

  get kills(): number {
    return [...this.services.values()].reduce((total, it) => total + it.kills, this.postgresKills);
  }

  /** The processes of the application, without the broker and the gateway. */
  get applications(): Service[] {
    return Object.keys(applicationsOf(this.combination)).map((name) => this.services.get(name)!);
  }

  /** The databases that have tables of modules. */
  get moduleDatabases(): NamedDatabase[] {
    return this.databases.filter(({ name }) => name !== 'broker' && name !== 'dead_letters');
  }

  /** Waits until all processes are ready. @throws Error when one is not ready in time */
  async ready(): Promise<void> {
    await this.postgres?.ready(READY_MS);
    await Promise.all([...this.services.values()].map((it) => it.ready(READY_MS)));
  }

  /** Ends the effects of all faults, and waits until all processes are ready. */
  async recover(): Promise<void> {
    this.volume.empty();
    for (const proxy of this.allProxies) proxy.cutProbability = 0;
    for (const proxy of this.deliveryProxies.values())
      Object.assign(proxy, { delayProbability: 0, duplicateProbability: 0 });
    for (const service of this.services.values()) {
      service.resume();
      service.updateAgent({ offsetMs: 0, slow: 0, fail: 0 });
    }
    await this.ready();
    if (this.hadOverload) await Promise.all(this.applications.map((it) => this.catchUp(it)));
  }

  private async catchUp({ plan: { name, port } }: Service): Promise<void> {
    for (const deadline = performance.now() + CATCH_UP_MS; ; await wait(200)) {
      const lagMs = await fetch(`http://127.0.0.1:${port}/mesh/outbox`)
        .then(async (answer) => ((await answer.json()) as { lagMs: number }).lagMs)
        .catch(() => Infinity);
      if (lagMs < NO_BACKLOG_MS) return;
      if (performance.now() < deadline) continue;
      this.surprises.push(`${name} has messages of ${lagMs} ms, ${CATCH_UP_MS / 1000} s after recovery`);
      return;
    }
  }

  get allProxies(): TcpProxy[] {
    return [...this.proxies.values(), ...(this.postgresProxy ? [this.postgresProxy] : [])];
  }

  /** Runs statements on a database, and repeats them for up to 30 s. @throws Error when they still fail then */
  async execute(database: NamedDatabase, statements: readonly string[]): Promise<void> {
    for (const deadline = performance.now() + 30_000; ; await wait(100)) {
      try {
        return await executeStatements(database.url, statements);
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
    }
  }

  /** Stops one process by SIGTERM. Any exit code but 0 is a surprise. */
  async stopGracefully(service: Service): Promise<void> {
    const problem = await service.stop();
    if (problem) this.surprises.push(`${service.name} ${problem}`);
  }

  /** A started process must not exit; a starting one may, if a fault kept it from its database. */
  private recordExit({ name, how, startedAt, hadStarted }: UnexpectedExit): void {
    if (hadStarted) this.surprises.push(`${name} exited ${how} unexpectedly`);
    else if (startedAt > this.startHinderedUntil) this.surprises.push(`${name} exited ${how} while it started`);
  }

  /** Stops all processes but PostgreSQL, which is needed for counting. */
  async stopServices(): Promise<void> {
    await Promise.all([...this.services.values()].map((it) => this.stopGracefully(it)));
  }

  /** @param keep a folder that gets a copy of the databases */
  async close(keep?: string): Promise<void> {
    await Promise.all([...this.services.values()].map((it) => it.stop()));
    for (const proxy of this.allProxies) proxy.close();
    await Promise.all([...this.deliveryProxies.values()].map((it) => it.close()));
    await this.postgres?.stop();
    this.volume.close(keep);
  }

  private async start(): Promise<void> {
    const { combination, folder, volume, random } = this;
    const ports = await portsOf(combination);
    for (const [name, port] of ports) this.proxies.set(name, await TcpProxy.open(port, random.fork()));
    const url = (name: string) => this.proxies.get(name)!.url;
    const applications = Object.keys(applicationsOf(combination));
    if (combination.hasBroker) {
      for (const name of applications)
        this.deliveryProxies.set(name, await DeliveryProxy.open(url(name), random.fork()));
    }
    const names = new Set(applications.map(databaseOf));
    if (combination.hasBroker) names.add('broker');
    if (combination.database === 'postgres') await this.startPostgres([...names].filter((it) => it !== 'broker'));
    // The laptop broker always uses SQLite.
    const isFile = (name: string) => combination.database === 'sqlite' || name === 'broker';
    const file = (name: string) => `sqlite:${join(volume.path, `${name}.db`)}`;
    for (const name of names) this.databases.push({ name, url: isFile(name) ? file(name) : this.postgres!.url(name) });
    const database = (name: string) => (isFile(name) ? file(name) : this.postgres!.url(name, this.postgresProxy!.port));
    const deliveryUrl = (name: string) => this.deliveryProxies.get(name)!.url;
    for (const plan of plansOf(combination, ports, { folder, database, url, deliveryUrl })) {
      const service = new Service(plan, join(folder, `${plan.name}.log`), (exit) => this.recordExit(exit));
      this.services.set(plan.name, service);
      service.start();
    }
    await this.ready();
    for (const database of this.moduleDatabases) await this.execute(database, [HANDLED_TABLE[combination.database]]);
  }

  private async startPostgres(names: readonly string[]): Promise<void> {
    const folder = join(this.volume.path, 'postgres');
    mkdirSync(folder);
    this.postgres = await PostgresServer.open(folder, join(this.folder, 'postgres.log'));
    this.postgresProxy = await TcpProxy.open(this.postgres.port, this.random.fork());
    for (const name of names) await this.postgres.create(name);
  }
}
