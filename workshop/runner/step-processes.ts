import { setTimeout as wait } from 'node:timers/promises';
import { Child, type Listener } from '../../tools/mesh-up/child.js';
import { DEMO, insertRides } from './fixtures.js';
import { processPlanner, type Planned } from './process-planner.js';
import { createLegacyTables, StepDatabases } from './step-databases.js';
import { emptyFolder } from './step-directory.js';
import { folderOf, processesOf, type Step } from './steps.js';

export interface StepProcessesOptions {
  /** The folder for the databases. It is emptied first. */
  readonly data: string;
  /** The port of the process `cabs`. */
  readonly port: number;
  /** Environment variables for all processes. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Called with each line that a process prints, and when a process dies. */
  readonly onLine?: (line: string) => void;
  /** Called with each message that a process sends over its IPC channel. */
  readonly onMessage?: (message: unknown) => void;
}

/** Longest time for a process to become ready, in ms. */
const START_MS = 90_000;

/** Killed with SIGKILL at our exit: a process that loops for ever would ignore SIGTERM. */
const running = new Set<Child>();
process.once('exit', () => running.forEach((child) => child.kill()));

/** A running step: its processes, its databases, and the demo's ride in transit. A process that dies is restarted. */
export class StepProcesses {
  readonly databases: StepDatabases;
  /** The last 100 lines that the processes printed. */
  readonly printed: string[] = [];
  private children = new Map<string, Child>();
  private lastBroadcast?: object;

  private constructor(
    readonly step: Step,
    readonly planned: readonly Planned[],
    pathOf: (name: string) => string,
    private readonly options: StepProcessesOptions,
  ) {
    this.databases = new StepDatabases(step, pathOf);
  }

  /** @throws Error with what a process printed, when it does not start */
  static async open(step: Step, options: StepProcessesOptions): Promise<StepProcesses> {
    const planner = processPlanner(folderOf(step), emptyFolder(options.data), options.port);
    const processes = new StepProcesses(step, await processesOf(step, planner), planner.database, options);
    try {
      await processes.start();
    } catch (error) {
      await processes.close();
      throw error;
    }
    return processes;
  }

  /** The base URL that users know. */
  get url(): string {
    return this.planned.find(({ name }) => name === 'cabs')!.url;
  }

  pidOf(name: string): number | undefined {
    return this.children.get(name)?.pid;
  }

  /** Kills a process with SIGKILL. It is restarted at once. */
  kill(name: string): void {
    const pid = this.children.get(name)?.pid;
    if (pid) process.kill(pid, 'SIGKILL');
  }

  /** Kills a process with SIGKILL and starts it again after a pause, in ms. */
  async killFor(name: string, ms: number): Promise<void> {
    const child = this.children.get(name)!;
    child.kill();
    await wait(ms);
    await this.startOne(child.planned);
  }

  /** Waits until a process that was killed is ready again. */
  async ready(name: string): Promise<void> {
    await this.children.get(name)!.ready(START_MS);
  }

  /** Sends a message to all processes, and to each process that is restarted later. */
  broadcast(message: object): void {
    this.lastBroadcast = message;
    this.send(message);
  }

  /** Sends a message to all processes that are running. */
  send(message: object): void {
    for (const child of this.children.values()) child.send(message);
  }

  async close(): Promise<void> {
    this.databases.close();
    await Promise.all([...this.children.values()].map((child) => child.end()));
    for (const child of this.children.values()) running.delete(child);
  }

  private async start(): Promise<void> {
    if (this.step.tables === 'legacy') {
      createLegacyTables(this.databases);
      insertRides(this.databases, [DEMO]);
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
    running.add(child);
    await child.start(START_MS).catch((error: Error) => {
      throw new Error([error.message, ...startFailure(lines)].join('\n'));
    });
    if (this.lastBroadcast) child.send(this.lastBroadcast);
  }

  private listener(lines: string[]): Listener {
    const { onLine, onMessage } = this.options;
    return {
      ...(onMessage && { message: (_: string, message: unknown) => onMessage(message) }),
      line: (name, line) => {
        if (lines.length < 1000) lines.push(line);
        this.printed.push(line);
        if (this.printed.length > 100) this.printed.shift();
        onLine?.(`${name.padEnd(12)} ${line}`);
      },
      died: (name, how) => onLine?.(`${name.padEnd(12)} ${how}; restarting it`),
      started: (name) => {
        if (this.lastBroadcast) this.children.get(name)?.send(this.lastBroadcast);
      },
    };
  }
}

/** The lines that explain why a process did not start: from the first error on, or else the last 15. */
function startFailure(lines: readonly string[]): string[] {
  const first = lines.findIndex((line) => /\bERROR\b|Error:|\bfatal\b/i.test(line));
  return first < 0 ? lines.slice(-15) : lines.slice(first, first + 15);
}
