import { setTimeout as wait } from 'node:timers/promises';
import { Child, type Listener } from '../../tools/mesh-up/child.js';
import { emptyFolder, placeOf, type Planned } from './step-directory.js';
import { DEMO, Ledgers, makeLegacyTables, putUnderWay } from './fixtures.js';
import { folderOf, processesOf, type Step } from './steps.js';

export interface HouseOptions {
  /** A folder for its databases, which is emptied. */
  readonly data: string;
  /** Of the process `cabs`. */
  readonly port: number;
  /** Of all its processes. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Each line that a process prints, and what happens to it. */
  readonly tell?: (line: string) => void;
  /** Each message that a process sends. */
  readonly hear?: (message: unknown) => void;
}

/** Longest time for all processes of a step to start, in ms. */
const START_MS = 90_000;

/** Whoever is still there when we end gets no time: one that loops for ever would hear of nothing. */
const living = new Set<Child>();
process.once('exit', () => living.forEach((child) => child.kill()));

/** A step that runs: its processes, its databases, and the demo's ride under way. What dies is started again. */
export class House {
  readonly ledgers: Ledgers;
  /** The last lines that its processes printed. */
  readonly printed: string[] = [];
  private children = new Map<string, Child>();
  private message?: object;

  private constructor(
    readonly step: Step,
    readonly planned: readonly Planned[],
    pathOf: (name: string) => string,
    private readonly options: HouseOptions,
  ) {
    this.ledgers = new Ledgers(step, pathOf);
  }

  /** @throws Error when a process does not start, with what it printed */
  static async open(step: Step, options: HouseOptions): Promise<House> {
    const place = placeOf(folderOf(step), emptyFolder(options.data), options.port);
    const house = new House(step, await processesOf(step, place), place.database, options);
    try {
      await house.start();
    } catch (error) {
      await house.close();
      throw error;
    }
    return house;
  }

  /** The address that users know. */
  get url(): string {
    return this.planned.find(({ name }) => name === 'cabs')!.url;
  }

  pidOf(name: string): number | undefined {
    return this.children.get(name)?.pid;
  }

  /** Ends a process without warning; it is started again. */
  kill(name: string): void {
    const pid = this.children.get(name)?.pid;
    if (pid) process.kill(pid, 'SIGKILL');
  }

  /** Ends a process without warning, and starts it again so much later, in ms. */
  async away(name: string, ms: number): Promise<void> {
    const child = this.children.get(name)!;
    child.kill();
    await wait(ms);
    await this.startOne(child.planned);
  }

  /** Waits until a process that was killed is there again. */
  async ready(name: string): Promise<void> {
    await this.children.get(name)!.ready(START_MS);
  }

  /** Sends a message to all processes; also to those that are started again later. */
  tellAll(message: object): void {
    this.message = message;
    this.ask(message);
  }

  /** Sends a message to all processes that are there. */
  ask(message: object): void {
    for (const child of this.children.values()) child.send(message);
  }

  async close(): Promise<void> {
    this.ledgers.close();
    await Promise.all([...this.children.values()].map((child) => child.end()));
    for (const child of this.children.values()) living.delete(child);
  }

  private async start(): Promise<void> {
    if (this.step.tables === 'legacy') {
      makeLegacyTables(this.ledgers);
      putUnderWay(this.ledgers, [DEMO]);
    }
    await Promise.all(this.planned.map((planned) => this.startOne(planned)));
  }

  private async startOne(planned: Planned): Promise<void> {
    const environment = {
      LOG_LEVEL: 'warn',
      SHUTDOWN_GRACE: 'PT2S',
      PATH: process.env.PATH,
      ...this.options.environment,
    };
    const lines: string[] = [];
    const child = new Child(planned, environment, this.listener(lines));
    this.children.set(planned.name, child);
    living.add(child);
    await child.start(START_MS).catch((error: Error) => {
      throw new Error([error.message, ...whyOf(lines)].join('\n'));
    });
    if (this.message) child.send(this.message);
  }

  private listener(lines: string[]): Listener {
    const { tell, hear } = this.options;
    return {
      ...(hear && { message: (_: string, message: unknown) => hear(message) }),
      line: (name, line) => {
        if (lines.length < 1000) lines.push(line);
        this.printed.push(line);
        if (this.printed.length > 100) this.printed.shift();
        tell?.(`${name.padEnd(12)} ${line}`);
      },
      died: (name, how) => tell?.(`${name.padEnd(12)} ${how}; it is started again`),
      started: (name) => {
        if (this.message) this.children.get(name)?.send(this.message);
      },
    };
  }
}

/** The lines that tell why a process did not start: from the first error on, or else the last ones. */
function whyOf(lines: readonly string[]): string[] {
  const first = lines.findIndex((line) => /\bERROR\b|Error:|\bfatal\b/i.test(line));
  return first < 0 ? lines.slice(-15) : lines.slice(first, first + 15);
}
