import { connect } from 'node:net';
import type { ClientBase, Pool } from 'pg';
import { DatabaseUnavailable, type Sql } from '../sql.js';

/** How often the server is asked which sessions still exist, in ms. */
const CHECK_MS = 1000;
const CANCEL_TIMEOUT_MS = 2000;
/** https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-CANCELREQUEST */
const CANCEL_REQUEST_CODE = 80_877_102;

/** What a client of `pg` knows of its session. */
interface AbandonedSession {
  readonly host: string;
  readonly port: number;
  readonly processID: number;
  readonly secretKey: number;
}

/**
 * Sessions whose connection was closed before the server had answered, as in a COMMIT that waits for a standby: the server
 * may keep them for as long as it likes. Each gets a CancelRequest, and counts against the pool until the server no longer
 * lists it, so that there are never more sessions than the pool may have.
 */
export class AbandonedSessions {
  private readonly sessions = new Map<number, AbandonedSession>();
  private readonly poolSize: number;
  private timer?: NodeJS.Timeout;

  /** @param reader statements over other connections to the same server */
  constructor(
    private readonly pool: Pool,
    private readonly reader: Sql,
  ) {
    this.poolSize = pool.options.max;
  }

  /** @throws DatabaseUnavailable when the pool may have no further session */
  assertRoom(): void {
    if (this.sessions.size >= this.poolSize)
      throw new DatabaseUnavailable(`${this.sessions.size} sessions of PostgreSQL are stuck: no more are opened`);
  }

  add(client: ClientBase): void {
    const { host, port, processID, secretKey } = client as unknown as AbandonedSession;
    const session = { host, port, processID, secretKey };
    this.sessions.set(processID, session);
    this.resizePool();
    cancel(session);
    this.timer ??= setInterval(() => void this.check(), CHECK_MS).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private resizePool(): void {
    this.pool.options.max = Math.max(1, this.poolSize - this.sessions.size);
  }

  /** Forgets the sessions that are gone, and tries to end the others. When the server doesn't answer, all may be there. */
  private async check(): Promise<void> {
    const asked = [...this.sessions.keys()];
    if (asked.length === 0) return;
    const statement =
      'SELECT pid FROM pg_stat_activity WHERE pid IN (SELECT it::int FROM json_array_elements_text($1::json) AS it)';
    const rows = await this.reader.all<{ pid: number }>(statement, [JSON.stringify(asked)]).catch(() => undefined);
    if (!rows) return;
    const alive = new Set(rows.map(({ pid }) => pid));
    for (const pid of asked) {
      if (alive.has(pid)) cancel(this.sessions.get(pid)!);
      else this.sessions.delete(pid);
    }
    this.resizePool();
  }
}

/** Asks the server to end what a session does, over a connection of its own as the protocol wants it. Never throws. */
function cancel({ host, port, processID, secretKey }: AbandonedSession): void {
  const request = Buffer.alloc(16);
  [16, CANCEL_REQUEST_CODE, processID, secretKey].forEach((value, index) => request.writeInt32BE(value, 4 * index));
  const socket = connect(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  socket.on('error', () => undefined);
  socket.setTimeout(CANCEL_TIMEOUT_MS, () => socket.destroy());
  socket.end(request);
}
