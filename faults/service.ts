import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { request } from 'undici';
import { ROOT } from '../tools/source.js';

const AGENT = pathToFileURL(join(ROOT, 'faults/agent.mjs')).href;
/** What died by itself, for want of a database or of room, is started again after so long, in ms. */
const PAUSE_MS = 300;
/** How long a process may take to end when it is asked to, in ms. */
const PATIENCE_MS = 25_000;

/** What the agent is told. */
export interface AgentState {
  readonly offsetMs?: number;
  readonly slow?: number;
  readonly fail?: number;
  readonly tape?: readonly number[];
}

/** A process to be started. */
export interface Plan {
  readonly name: string;
  readonly port: number;
  /** Answers with 200 when it can do its work. */
  readonly readyPath: string;
  /** What Node is started with. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** An end that nobody asked for, and that was no kill of ours. */
export interface Death {
  readonly name: string;
  readonly how: string;
  /** On the clock of `performance.now()`. */
  readonly startedAt: number;
  /** Whether it had begun to listen. */
  readonly hadStarted: boolean;
}

/** Whoever is still there when we end gets no time. */
const living = new Set<ChildProcess>();
process.once('exit', () => living.forEach((child) => child.kill('SIGKILL')));

/** A process of the application, started again whenever it dies until it is asked to end. */
export class Member {
  kills = 0;
  /** Whether nobody may kill it for now. */
  isSpared = false;
  private child?: ChildProcess;
  private wanted = false;
  private state: AgentState = {};
  private isKilled = false;
  private hasStarted = false;
  private standsStill = false;

  /**
   * @param log a file for what it prints
   * @param onDeath is told when it ends by itself
   */
  constructor(
    readonly plan: Plan,
    private readonly log: string,
    private readonly onDeath: (death: Death) => void,
  ) {}

  get name(): string {
    return this.plan.name;
  }

  start(): void {
    this.wanted = true;
    const log = openSync(this.log, 'a');
    const child = spawn(process.execPath, ['--import', AGENT, ...this.plan.command], {
      cwd: ROOT,
      stdio: ['ignore', log, log, 'ipc'],
      env: { PATH: process.env.PATH, ...this.plan.environment, FAULTS_STATE: JSON.stringify(this.state) },
      // In a group of its own: a Ctrl-C is ours.
      detached: true,
    });
    closeSync(log);
    const startedAt = performance.now();
    this.child = child;
    this.isKilled = this.hasStarted = this.standsStill = false;
    living.add(child);
    child.on('error', () => undefined);
    child.once('message', () => (this.hasStarted = true));
    child.once('exit', (code, signal) => {
      living.delete(child);
      if (!this.wanted || this.child !== child) return;
      const how = signal ? `by ${signal}` : `with exit code ${code}`;
      if (!this.isKilled) this.onDeath({ name: this.name, how, startedAt, hadStarted: this.hasStarted });
      setTimeout(() => this.wanted && this.child === child && this.start(), signal === 'SIGKILL' ? 0 : PAUSE_MS);
    });
  }

  /** Waits until it can do its work. @throws Error when that takes longer than `ms` */
  async ready(ms: number): Promise<void> {
    for (const deadline = performance.now() + ms; !(await this.isReady()); await wait(100)) {
      if (performance.now() > deadline) throw new Error(`${this.name} is not ready after ${ms / 1000} s`);
    }
  }

  /** Ends it without warning, also while it starts. */
  kill(): void {
    if (!this.isRunning || !this.child!.kill('SIGKILL')) return;
    this.isKilled = true;
    this.kills++;
  }

  /** Asks it to end. @returns what was not in order about that */
  async end(): Promise<string | undefined> {
    this.wanted = false;
    const { child } = this;
    // Between a death, which has been told, and its next start.
    if (!child || !this.isRunning) return undefined;
    const gone = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    child.kill('SIGTERM');
    let isLate = false;
    const late = setTimeout(() => (isLate = child.kill('SIGKILL')), PATIENCE_MS);
    const [code, signal] = await gone;
    clearTimeout(late);
    if (isLate) return 'did not end when it was asked to';
    // One that has just begun to start can't have said yet that it wants to end in order.
    if (code === 0 || this.isKilled || (signal === 'SIGTERM' && !this.hasStarted)) return undefined;
    return `ended ${signal ? `by ${signal}` : `with exit code ${code}`} when it was asked to end`;
  }

  stopTime(): void {
    this.standsStill = this.child?.kill('SIGSTOP') ?? false;
  }

  /** @returns whether it had stood still, and goes on */
  letTimeGoOn(): boolean {
    const goesOn = this.standsStill && this.isRunning && this.child!.kill('SIGCONT');
    this.standsStill = false;
    return goesOn;
  }

  /** Tells its agent, and those of all who come after it. */
  tell(changes: AgentState): void {
    this.state = { ...this.state, ...changes };
    if (this.isRunning && this.child!.connected) this.child!.send(this.state, () => undefined);
  }

  private get isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  private async isReady(): Promise<boolean> {
    try {
      const url = `http://127.0.0.1:${this.plan.port}${this.plan.readyPath}`;
      const { statusCode, body } = await request(url, { signal: AbortSignal.timeout(2000) });
      await body.dump();
      return statusCode === 200;
    } catch {
      return false;
    }
  }
}
