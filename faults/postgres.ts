import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { postgresBinaries, unprivileged } from '../tools/postgres-server.js';
import { freePort } from '../tools/ports.js';

const runningServers = new Set<PostgresServer>();
process.once('exit', () => runningServers.forEach((server) => server.killNow()));

/** A PostgreSQL server for one combination. It restarts on the same data after each exit, until it is stopped. */
export class PostgresServer {
  private process?: ChildProcess;
  private shouldRun = false;

  private constructor(
    private readonly binaries: string,
    private readonly folder: string,
    private readonly log: string,
    readonly port: number,
  ) {}

  /**
   * @param folder an empty folder for the data
   * @throws Error when the server can't be started
   */
  static async open(folder: string, log: string): Promise<PostgresServer> {
    const binaries = postgresBinaries();
    if (!binaries) throw new Error('No local installation of PostgreSQL found');
    const user = unprivileged();
    if (user) chownSync(folder, user.uid, user.gid);
    const args = ['-D', join(folder, 'data'), '-U', 'cabs', '-A', 'trust', '-E', 'UTF8', '--locale=C'];
    execFileSync(join(binaries, 'initdb'), args, { ...user, cwd: folder, stdio: 'pipe' });
    const server = new PostgresServer(binaries, folder, log, await freePort());
    server.start();
    await server.ready(30_000);
    return server;
  }

  /** @param port the port of a proxy; default: the server's own port */
  url(database: string, port = this.port): string {
    return `postgres://cabs@127.0.0.1:${port}/${database}`;
  }

  async create(database: string): Promise<void> {
    await this.query(`CREATE DATABASE ${database}`, 'postgres');
  }

  /** Waits until the server answers. @throws Error when that takes longer than `ms` */
  async ready(ms: number): Promise<void> {
    await this.repeat('SELECT 1', ms);
  }

  /** Runs a statement, and again until it succeeds. @throws Error when that takes longer than `ms` */
  async repeat(statement: string, ms: number): Promise<void> {
    for (const deadline = performance.now() + ms; ; await wait(100)) {
      try {
        return await this.query(statement, 'postgres');
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
    }
  }

  /** Stops the server; it restarts as a standby without a primary, which is read-only, until `promote()`. */
  restartAsStandby(): void {
    writeFileSync(this.standbySignal, '');
    this.stopImmediately();
  }

  /** Makes a standby writable. @throws Error when that takes longer than `ms` */
  async promote(ms: number): Promise<void> {
    const promoteStandby = `DO $$ BEGIN IF pg_is_in_recovery() THEN PERFORM pg_promote(true, 10); END IF; END $$`;
    // The signal is read when the server starts: one that was killed meanwhile may come back as a standby.
    for (const deadline = performance.now() + ms; ; await wait(200)) {
      await this.repeat(promoteStandby, ms);
      if (!existsSync(this.standbySignal)) return;
      if (performance.now() > deadline) throw new Error('PostgreSQL remains a standby');
    }
  }

  /** Sends SIGKILL to the server and all its processes; it restarts. */
  killNow(): void {
    const pid = this.process?.pid;
    if (!pid || this.process!.exitCode !== null || this.process!.signalCode !== null) return;
    const children = childrenOf(pid);
    for (const one of [pid, ...children]) {
      try {
        process.kill(one, 'SIGKILL');
      } catch {
        // This process has exited already.
      }
    }
  }

  /** Does what `pg_ctl stop -m immediate` does; the server restarts. */
  stopImmediately(): void {
    this.process?.kill('SIGQUIT');
  }

  async stop(): Promise<void> {
    this.shouldRun = false;
    runningServers.delete(this);
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGINT');
    const late = setTimeout(() => this.killNow(), 10_000);
    await gone;
    clearTimeout(late);
  }

  private get standbySignal(): string {
    return join(this.folder, 'data/standby.signal');
  }

  private start(): void {
    this.shouldRun = true;
    runningServers.add(this);
    const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${this.folder}`, 'max_connections=300'];
    const log = openSync(this.log, 'a');
    const child = spawn(
      join(this.binaries, 'postgres'),
      ['-D', join(this.folder, 'data'), '-p', String(this.port), ...settings.flatMap((it) => ['-c', it])],
      { ...unprivileged(), cwd: this.folder, stdio: ['ignore', log, log], detached: true },
    );
    closeSync(log);
    this.process = child;
    child.on('error', () => undefined);
    // A first restart may fail: killed processes still hold shared memory, or the disk is full.
    child.once('exit', () => setTimeout(() => this.shouldRun && this.start(), 300));
  }

  private async query(statement: string, database: string): Promise<void> {
    const client = new pg.Client({ connectionString: this.url(database), connectionTimeoutMillis: 3000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query(statement);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

function childrenOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return children.split(' ').filter(Boolean).map(Number);
  } catch {
    // Without /proc the children exit by themselves once they notice that their parent is gone.
    return [];
  }
}
