import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { request } from 'undici';
import { ROOT } from '../tools/source.js';

const AGENT = pathToFileURL(join(ROOT, 'faults/agent.mjs')).href;
/** Delay before a process that exited unexpectedly is started again, in ms. */
const RESTART_DELAY_MS = 300;
/** How long a process may take to exit after SIGTERM, in ms. */
const STOP_TIMEOUT_MS = 25_000;

/** The state that the rig sends to agent.mjs in a process. */
export interface AgentState {
  /** Added to the clock, in ms. */
  readonly offsetMs?: number;
  readonly slow?: number;
  readonly fail?: number;
  readonly randoms?: readonly number[];
}

/** How to start a process. */
export interface ServicePlan {
  readonly name: string;
  readonly port: number;
  /** The path that answers with 200 when the process is ready. */
  readonly readyPath: string;
  /** The arguments of Node. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** An exit that was neither requested nor caused by a kill of the rig. */
export interface UnexpectedExit {
  readonly name: string;
  readonly how: string;
  /** By `performance.now()`. */
  readonly startedAt: number;
  /** Whether the process had begun to listen. */
  readonly hadStarted: boolean;
}

// Kills the children that are left when the rig exits.
const runningChildren = new Set<ChildProcess>();
process.once('exit', () => runningChildren.forEach((child) => child.kill('SIGKILL')));

/** A process that is started again after each exit, until it is stopped. */
export class Service {
  kills = 0;
  /** Set while other faults must not kill it. */
  isProtected = false;
  private child?: ChildProcess;
  private shouldRun = false;
  private agentState: AgentState = {};
  private isKilled = false;
  private hasStarted = false;
  private isFrozen = false;

  /**
   * @param log the file that gets its output
   * @param onUnexpectedExit called when the process exits without being stopped or killed by the rig
   */
  constructor(
    readonly plan: ServicePlan,
    private readonly log: string,
    private readonly onUnexpectedExit: (exit: UnexpectedExit) => void,
  ) {}

  get name(): string {
    return this.plan.name;
  }

  start(): void {
    this.shouldRun = true;
    const log = openSync(this.log, 'a');
    const child = spawn(process.execPath, ['--import', AGENT, ...this.plan.command], {
      cwd: ROOT,
      stdio: ['ignore', log, log, 'ipc'],
      env: { PATH: process.env.PATH, ...this.plan.environment, FAULTS_STATE: JSON.stringify(this.agentState) },
      // In its own process group, so that Ctrl-C reaches only the rig.
      detached: true,
    });
    closeSync(log);
    const startedAt = performance.now();
    this.child = child;
    this.isKilled = this.hasStarted = this.isFrozen = false;
    runningChildren.add(child);
    child.on('error', () => undefined);
    child.once('message', () => (this.hasStarted = true));
    child.once('exit', (code, signal) => {
      runningChildren.delete(child);
      if (!this.shouldRun || this.child !== child) return;
      const how = signal ? `by ${signal}` : `with exit code ${code}`;
      if (!this.isKilled) this.onUnexpectedExit({ name: this.name, how, startedAt, hadStarted: this.hasStarted });
      setTimeout(
        () => this.shouldRun && this.child === child && this.start(),
        signal === 'SIGKILL' ? 0 : RESTART_DELAY_MS,
      );
    });
  }

  /** Waits until the process is ready. @throws Error when that takes longer than `ms` */
  async ready(ms: number): Promise<void> {
    for (const deadline = performance.now() + ms; !(await this.isReady()); await wait(100)) {
      if (performance.now() > deadline) throw new Error(`${this.name} is not ready after ${ms / 1000} s`);
    }
  }

  /** Sends SIGKILL, also while the process starts. */
  kill(): void {
    if (!this.isRunning || !this.child!.kill('SIGKILL')) return;
    this.isKilled = true;
    this.kills++;
  }

  /** Sends SIGTERM, and waits for the exit. @returns a description of the exit when it was not in order */
  async stop(): Promise<string | undefined> {
    this.shouldRun = false;
    const { child } = this;
    // The process has exited already and was to be started again.
    if (!child || !this.isRunning) return undefined;
    const gone = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    child.kill('SIGTERM');
    let isLate = false;
    const late = setTimeout(() => (isLate = child.kill('SIGKILL')), STOP_TIMEOUT_MS);
    const [code, signal] = await gone;
    clearTimeout(late);
    if (isLate) return `did not exit within ${STOP_TIMEOUT_MS / 1000} s after SIGTERM`;
    // A process that has just been started has no handler for SIGTERM yet.
    if (code === 0 || this.isKilled || (signal === 'SIGTERM' && !this.hasStarted)) return undefined;
    return `exited ${signal ? `by ${signal}` : `with exit code ${code}`} after SIGTERM`;
  }

  freeze(): void {
    this.isFrozen = this.child?.kill('SIGSTOP') ?? false;
  }

  /** @returns whether the process was frozen and now runs on */
  resume(): boolean {
    const isResumed = this.isFrozen && this.isRunning && this.child!.kill('SIGCONT');
    this.isFrozen = false;
    return isResumed;
  }

  /** Changes the state of the agent, now and after each restart. */
  updateAgent(changes: AgentState): void {
    this.agentState = { ...this.agentState, ...changes };
    if (this.isRunning && this.child!.connected) this.child!.send(this.agentState, () => undefined);
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
