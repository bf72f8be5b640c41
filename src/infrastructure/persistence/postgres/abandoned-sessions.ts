import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { ClientBase, Pool } from 'pg';
import { DatabaseUnavailable, type Sql } from '../sql.js';

/** How often the server is told to end the sessions, in ms. */
const CHECK_MS = 1000;
/** A new transaction looks so many times, with this pause in ms, whether an abandoned session has ended. */
const MAX_TRIES = 5;
const TRY_AGAIN_MS = 100;
const CANCEL_TIMEOUT_MS = 2000;
/** https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-CANCELREQUEST */
const CANCEL_REQUEST_CODE = 80_877_102;

/** Another session may have the id of one that ended meanwhile: it began later. */
const END = `SELECT there.pid, pg_terminate_backend(there.pid)
  FROM pg_stat_activity AS there JOIN json_to_recordset($1::json) AS asked(pid int, ms double precision)
    ON asked.pid = there.pid AND there.backend_start <= now() - asked.ms * interval '1 ms'`;

/** What a client of `pg` knows of its session. */
interface SessionKey {
  readonly host: string;
  readonly port: number;
  readonly processID: number;
  readonly secretKey: number;
}

/**
 * Sessions whose connection was closed before the server had answered, as in a COMMIT that waits for a standby: the server
 * may keep them for as long as it likes. Each gets a CancelRequest, is ended over another connection, and counts against the
 * pool until the server no longer lists it, so that there are never more sessions than the pool may have.
 */
export class AbandonedSessions {
  /** When each was abandoned, by the id of its process, on the clock of `performance.now()`. */
  private readonly sessions = new Map<number, number>();
  /** How many sessions the pool may have at most. */
  readonly poolSize: number;
  private timer?: NodeJS.Timeout;
  private ending?: Promise<void>;

  /** @param reader statements over other connections to the same server */
  constructor(
    private readonly pool: Pool,
    private readonly reader: Sql,
  ) {
    this.poolSize = pool.options.max;
  }

  /** @throws DatabaseUnavailable when the pool may have no further session */
  async assertRoom(): Promise<void> {
    for (let tries = 0; this.sessions.size >= this.poolSize; tries++) {
      if (tries === MAX_TRIES)
        throw new DatabaseUnavailable(`${this.sessions.size} sessions of PostgreSQL don't end: no more are opened`);
      if (tries > 0) await wait(TRY_AGAIN_MS);
      await this.end();
    }
  }

  add(client: ClientBase): void {
    const { host, port, processID, secretKey } = client as unknown as SessionKey;
    this.sessions.set(processID, performance.now());
    this.resizePool();
    cancel({ host, port, processID, secretKey });
    this.timer ??= setInterval(() => void this.end(), CHECK_MS).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private resizePool(): void {
    this.pool.options.max = Math.max(1, this.poolSize - this.sessions.size);
  }

  private end(): Promise<void> {
    this.ending ??= this.endSessions().finally(() => (this.ending = undefined));
    return this.ending;
  }

  /** Ends the sessions, and forgets those that are gone. When the server doesn't answer, all may be there. */
  private async endSessions(): Promise<void> {
    const now = performance.now();
    const asked = [...this.sessions].map(([pid, since]) => ({ pid, ms: now - since }));
    if (asked.length === 0) return;
    const rows = await this.reader.all<{ pid: number }>(END, [JSON.stringify(asked)]).catch(() => undefined);
    if (!rows) return;
    const alive = new Set(rows.map(({ pid }) => pid));
    for (const { pid } of asked) if (!alive.has(pid)) this.sessions.delete(pid);
    this.resizePool();
  }
}

/** Asks the server to end what a session does, over a connection of its own as the protocol wants it. Never throws. */
function cancel({ host, port, processID, secretKey }: SessionKey): void {
  const request = Buffer.alloc(16);
  [16, CANCEL_REQUEST_CODE, processID, secretKey].forEach((value, index) => request.writeInt32BE(value, 4 * index));
  const socket = connect(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  socket.on('error', () => undefined);
  socket.setTimeout(CANCEL_TIMEOUT_MS, () => socket.destroy());
  socket.end(request);
}
