import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { administer, type Place } from './databases.js';
import { applicationsOf, databaseOf, placesOf, plansOf, type Combination } from './combinations.js';
import { NOTES } from './count.js';
import { Courier } from './delivery-proxy.js';
import { Line } from './tcp-proxy.js';
import { Member, type Death } from './service.js';
import { PostgresServer } from './postgres.js';
import type { Random } from './random.js';
import { Volume } from './volume.js';

/** For all processes to be able to do their work, in ms. */
const READY_MS = 90_000;
const MEGABYTES = { sqlite: 192, postgres: 640 };

/** Real processes of one combination, with everything between them in the rig's hands. */
export class Stand {
  readonly members = new Map<string, Member>();
  /** A line to each process, by its name. */
  readonly lines = new Map<string, Line>();
  readonly couriers = new Map<string, Courier>();
  /** The databases there are. */
  readonly databases: Place[] = [];
  /** What went otherwise than it may, beside what is counted. */
  readonly surprises: string[] = [];
  postgres?: PostgresServer;
  postgresLine?: Line;
  postgresKills = 0;
  /** When starting was last made hard by what goes wrong, on the clock of `performance.now()`; Infinity while it is. */
  hinderedUntil = -Infinity;

  private constructor(
    readonly combination: Combination,
    readonly folder: string,
    readonly volume: Volume,
    private readonly random: Random,
  ) {}

  /**
   * @param folder of the run; logs stay there
   * @throws Error when something does not start
   */
  static async open(combination: Combination, folder: string, random: Random): Promise<Stand> {
    mkdirSync(folder, { recursive: true });
    const volume = Volume.open(join(folder, 'volume'), MEGABYTES[combination.database]);
    const stand = new Stand(combination, folder, volume, random);
    try {
      await stand.start();
    } catch (error) {
      await stand.close();
      throw error;
    }
    return stand;
  }

  /** Where users ask. */
  get urls(): string[] {
    const { transport } = this.combination;
    const doors = transport === 'split' ? ['front-door'] : transport === 'replicas' ? ['cabs-1', 'cabs-2'] : ['cabs'];
    return doors.map((name) => this.lines.get(name)!.url);
  }

  get kills(): number {
    return [...this.members.values()].reduce((total, it) => total + it.kills, this.postgresKills);
  }

  /** The processes of the application, without the broker and the front door. */
  get applications(): Member[] {
    return Object.keys(applicationsOf(this.combination)).map((name) => this.members.get(name)!);
  }

  /** The databases in which modules keep what is theirs. */
  get moduleDatabases(): Place[] {
    return this.databases.filter(({ name }) => name !== 'broker' && name !== 'dead_letters');
  }

  /** Waits until all processes can do their work. @throws Error when one can't in time */
  async ready(): Promise<void> {
    await this.postgres?.ready(READY_MS);
    await Promise.all([...this.members.values()].map((it) => it.ready(READY_MS)));
  }

  /** Takes away whatever a fault may have left. */
  async mend(): Promise<void> {
    this.volume.empty();
    for (const line of this.allLines) line.cutting = 0;
    for (const courier of this.couriers.values()) Object.assign(courier, { holding: 0, doubling: 0 });
    for (const member of this.members.values()) {
      member.letTimeGoOn();
      member.tell({ offsetMs: 0, slow: 0, fail: 0 });
    }
    await this.ready();
  }

  get allLines(): Line[] {
    return [...this.lines.values(), ...(this.postgresLine ? [this.postgresLine] : [])];
  }

  /** Statements behind the application's back, tried until they work. @throws Error when they don't in 30 s */
  async insist(place: Place, statements: readonly string[]): Promise<void> {
    for (const deadline = performance.now() + 30_000; ; await wait(100)) {
      try {
        return await administer(place.url, statements);
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
    }
  }

  /** Ends one process as an operator does. What isn't an orderly end is a surprise. */
  async endOrderly(member: Member): Promise<void> {
    const complaint = await member.end();
    if (complaint) this.surprises.push(`${member.name} ${complaint}`);
  }

  /** Who has started stays there, whatever becomes of its database; who starts may have to try again. */
  private died({ name, how, startedAt, hadStarted }: Death): void {
    if (hadStarted) this.surprises.push(`${name} ended ${how} by itself`);
    else if (startedAt > this.hinderedUntil) this.surprises.push(`${name} ended ${how} while it started`);
  }

  /** Ends all processes; those of PostgreSQL stay, for the counting. */
  async endProcesses(): Promise<void> {
    await Promise.all([...this.members.values()].map((it) => this.endOrderly(it)));
  }

  /** @param keep a folder for a copy of the databases */
  async close(keep?: string): Promise<void> {
    await Promise.all([...this.members.values()].map((it) => it.end()));
    for (const line of this.allLines) line.close();
    await Promise.all([...this.couriers.values()].map((it) => it.close()));
    await this.postgres?.end();
    this.volume.close(keep);
  }

  private async start(): Promise<void> {
    const { combination, folder, volume, random } = this;
    const places = await placesOf(combination);
    for (const [name, port] of places) this.lines.set(name, await Line.open(port, random.fork()));
    const url = (name: string) => this.lines.get(name)!.url;
    const applications = Object.keys(applicationsOf(combination));
    if (combination.hasBroker) {
      for (const name of applications) this.couriers.set(name, await Courier.open(url(name), random.fork()));
    }
    const names = new Set(applications.map(databaseOf));
    if (combination.hasBroker) names.add('broker');
    if (combination.database === 'postgres') await this.startPostgres([...names].filter((it) => it !== 'broker'));
    // The laptop broker keeps its own in SQLite, whatever the application does.
    const isFile = (name: string) => combination.database === 'sqlite' || name === 'broker';
    const file = (name: string) => `sqlite:${join(volume.path, `${name}.db`)}`;
    for (const name of names) this.databases.push({ name, url: isFile(name) ? file(name) : this.postgres!.url(name) });
    const database = (name: string) => (isFile(name) ? file(name) : this.postgres!.url(name, this.postgresLine!.port));
    const deliveries = (name: string) => this.couriers.get(name)!.url;
    for (const plan of plansOf(combination, places, { folder, database, url, deliveries })) {
      const member = new Member(plan, join(folder, `${plan.name}.log`), (death) => this.died(death));
      this.members.set(plan.name, member);
      member.start();
    }
    await this.ready();
    for (const place of this.moduleDatabases) await this.insist(place, [NOTES[combination.database]]);
  }

  private async startPostgres(names: readonly string[]): Promise<void> {
    const folder = join(this.volume.path, 'postgres');
    mkdirSync(folder);
    this.postgres = await PostgresServer.open(folder, join(this.folder, 'postgres.log'));
    this.postgresLine = await Line.open(this.postgres.port, this.random.fork());
    for (const name of names) await this.postgres.create(name);
  }
}
