import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { ROOT, type Planned } from './plan.js';

/** Delay before an exited process is started again, in ms; doubled with each exit soon after a start. */
const RESTART_DELAY_MS = 500;
const MAX_RESTART_DELAY_MS = 5000;
/** A process that ran this long, in ms, counts as stable: its next restart has the shortest delay again. */
const STABLE_AFTER_MS = 10_000;
/** Time between SIGTERM and SIGKILL, in ms. */
const GRACE_MS = 8000;

/**
 * Loaded by each child before its own code: ends the child when this process is gone, also by `kill -9`. Otherwise the
 * child would keep its port for ever.
 */
const END_WITH_PARENT = `data:text/javascript,${encodeURIComponent(`
  process.channel?.unref();
  process.once('disconnect', () => {
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${GRACE_MS}).unref();
    process.kill(process.pid, 'SIGTERM');
  });
`)}`;

/** Gets the output and the state changes of children. */
export interface Listener {
  line(name: string, line: string, from: 'stdout' | 'stderr'): void;
  died(name: string, how: string, againInMs: number): void;
  started(name: string, pid: number): void;
  /** Called with each IPC message of the child. */
  message?(name: string, message: unknown): void;
}

/** A process that is started again when it exits, until it is stopped. */
export class Child {
  private process?: ChildProcess;
  private wasReady = false;
  private failure?: string;
  private restartDelayMs = RESTART_DELAY_MS;
  private readonly ending = new AbortController();

  constructor(
    readonly planned: Planned,
    private readonly environment: Readonly<Record<string, string | undefined>>,
    private readonly listener: Listener,
  ) {}

  get pid(): number | undefined {
    return this.process?.pid;
  }

  /**
   * Starts the process, and waits until it is ready or is stopped.
   * @param ms the longest wait
   * @throws Error when that takes longer, or when the process exits
   */
  async start(ms: number): Promise<void> {
    this.run();
    await this.ready(ms);
    this.wasReady = true;
  }

  /** Waits like `start`, for a process that has been started. */
  async ready(ms: number): Promise<void> {
    const { name } = this.planned;
    for (const deadline = Date.now() + ms; !(await this.isReady()); await wait(50)) {
      if (this.ending.signal.aborted) return;
      if (this.failure) throw new Error(`${name} does not start: it ${this.failure}`);
      if (Date.now() > deadline) throw new Error(`${name} is not ready after ${ms / 1000} s`);
    }
  }

  /** Sends an IPC message. */
  send(message: object): void {
    if (this.process?.connected) this.process.send(message);
  }

  /** Sends SIGTERM, and SIGKILL after GRACE_MS. Waits for the exit. */
  async end(): Promise<void> {
    this.ending.abort();
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
    await gone;
    clearTimeout(late);
  }

  kill(): void {
    this.ending.abort();
    this.process?.kill('SIGKILL');
  }

  private run(): void {
    const { name, command, environment } = this.planned;
    const startedAt = Date.now();
    const NODE_OPTIONS = `${this.environment.NODE_OPTIONS ?? ''} --import=${END_WITH_PARENT}`;
    const child = spawn(process.execPath, command, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...this.environment, ...environment, NODE_OPTIONS },
      // In its own process group, so that Ctrl-C reaches only this process, which stops the children in order.
      detached: true,
    });
    this.process = child;
    for (const from of ['stdout', 'stderr'] as const) {
      createInterface({ input: child[from]! }).on('line', (line) => this.listener.line(name, line, from));
    }
    child.on('message', (message) => this.listener.message?.(name, message));
    child.once('exit', (code, signal) => {
      if (this.ending.signal.aborted) return;
      const how = signal ? `was killed (${signal})` : `ended (exit code ${code})`;
      // A process that exits before it was ever ready would do so again.
      if (!signal && !this.wasReady) return void (this.failure = how);
      if (Date.now() - startedAt > STABLE_AFTER_MS) this.restartDelayMs = RESTART_DELAY_MS;
      this.listener.died(name, how, this.restartDelayMs);
      void this.runAfter(this.restartDelayMs);
      this.restartDelayMs = Math.min(this.restartDelayMs * 2, MAX_RESTART_DELAY_MS);
    });
  }

  private async runAfter(ms: number): Promise<void> {
    const { signal } = this.ending;
    await wait(ms, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    this.run();
    this.listener.started(this.planned.name, this.pid!);
  }

  private async isReady(): Promise<boolean> {
    const { url, readyPath } = this.planned;
    try {
      // Not `fetch`, which refuses some port numbers.
      const { statusCode, body } = await request(url + readyPath, { signal: AbortSignal.timeout(2000) });
      await body.dump();
      return statusCode === 200;
    } catch {
      return false;
    }
  }
}
