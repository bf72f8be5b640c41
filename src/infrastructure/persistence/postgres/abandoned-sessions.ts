import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { ClientBase, Pool, PoolClient } from 'pg';
import { DatabaseUnavailable, type Sql } from '../sql.js';
import { PostgresSql } from './postgres-sql.js';
import type { ServerSession } from './session.js';

/** How often the server is told to end the sessions, in ms. */
const CHECK_MS = 1000;
/** A new transaction looks so many times, with this pause in ms, whether an abandoned session has ended. */
const MAX_TRIES = 5;
const TRY_AGAIN_MS = 100;
const CANCEL_TIMEOUT_MS = 2000;
/** How long a connection stays open for its CancelRequest to arrive, in ms: a pooler forgets its key with the connection. */
const CANCEL_WAIT_MS = 500;
/** A pooled session may serve another client soon after: one that changed its state later than this, in ms, has gone on. */
const SETTLING_MS = 1000;
/** https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-CANCELREQUEST */
const CANCEL_REQUEST_CODE = 80_877_102;

/**
 * Another session may have the id of one that ended meanwhile: it began later. A pooler may give a session to another client
 * once its statement was cancelled: it has done something else since.
 */
const END = `SELECT there.pid, pg_terminate_backend(there.pid)
  FROM pg_stat_activity AS there
    JOIN json_to_recordset($1::json) AS asked(pid int, ms double precision, "isPooled" boolean)
    ON asked.pid = there.pid AND there.backend_start <= now() - asked.ms * interval '1 ms'
    AND (asked."isPooled" AND there.state_change > now() - (asked.ms + ${SETTLING_MS}) * interval '1 ms') IS NOT TRUE`;

/** What a client of `pg` knows of its session. */
interface SessionKey extends ServerSession {
  readonly host: string;
  readonly port: number;
  readonly processID: number;
  readonly secretKey: number;
}

interface AbandonedSession {
  /** On the clock of `performance.now()`. */
  readonly since: number;
  readonly isPooled: boolean;
}

/**
 * Sessions whose connection was closed before the server had answered, as in a COMMIT that waits for a standby: the server
 * may keep them for as long as it likes. Each gets a CancelRequest, is ended over another connection, and counts against the
 * pool until the server no longer lists it, so that there are never more sessions than the pool may have.
 */
export class AbandonedSessions {
  /** By the ids of their processes. */
  private readonly sessions = new Map<number, AbandonedSession>();
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

  /** Makes the pool refuse connections when it may have no further session, also those for TypeORM. */
  guard(): void {
    const connect = this.pool.connect.bind(this.pool) as () => Promise<PoolClient>;
    type Callback = (
      error: Error | undefined,
      client?: PoolClient,
      release?: (error?: boolean | Error) => void,
    ) => void;
    const guarded = (callback?: Callback) => {
      const opened = this.assertRoom().then(connect);
      if (!callback) return opened;
      opened.then(
        (client) => callback(undefined, client, (error?: boolean | Error) => client.release(error)),
        (error: Error) => callback(error, undefined, () => undefined),
      );
    };
    Object.assign(this.pool, { connect: guarded });
  }

  /** @throws DatabaseUnavailable when the pool may have no further session */
  async assertRoom(): Promise<void> {
    for (let tries = 0; this.sessions.size >= this.poolSize; tries++) {
      if (tries === MAX_TRIES)
        throw new DatabaseUnavailable(`${this.sessions.size} sessions of PostgreSQL don't end: no more are opened`);
      if (tries > 0) await wait(TRY_AGAIN_MS);
      // A server that is out of reach would keep every caller waiting for its time-outs.
      await Promise.race([this.end(), wait(TRY_AGAIN_MS)]);
    }
  }

  /** @returns when the server has the CancelRequest; the connection must stay open until then. Never rejects */
  async add(client: ClientBase): Promise<void> {
    const key = client as unknown as SessionKey;
    const { processID, serverPid = processID } = key;
    this.sessions.set(serverPid, { since: performance.now(), isPooled: serverPid !== processID });
    this.resizePool();
    this.timer ??= setInterval(() => void this.end(), CHECK_MS).unref();
    await Promise.race([cancel(key), wait(CANCEL_WAIT_MS)]);
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
    const asked = [...this.sessions].map(([pid, { since, isPooled }]) => ({ pid, ms: now - since, isPooled }));
    if (asked.length === 0) return;
    const rows = await this.reader.all<{ pid: number }>(END, [JSON.stringify(asked)]).catch(() => undefined);
    if (!rows) return;
    const alive = new Set(rows.map(({ pid }) => pid));
    for (const { pid } of asked) if (!alive.has(pid)) this.sessions.delete(pid);
    this.resizePool();
  }
}

/** Statements over a pool that `guard()` doesn't refuse: they make room. To be called before `guard()`. */
export function unguarded(pool: Pool): Sql {
  const connect = pool.connect.bind(pool) as () => Promise<PoolClient>;
  return new PostgresSql(async (query) => {
    const client = await connect();
    let error: unknown;
    try {
      return await client.query(query);
    } catch (failure) {
      throw (error = failure);
    } finally {
      client.release(error !== undefined);
    }
  });
}

/**
 * Asks the server to end what a session does, over a connection of its own as the protocol wants it.
 * @returns when the server, or a pooler on its behalf, has done so. Never rejects
 */
function cancel({ host, port, processID, secretKey }: SessionKey): Promise<void> {
  const request = Buffer.alloc(16);
  [16, CANCEL_REQUEST_CODE, processID, secretKey].forEach((value, index) => request.writeInt32BE(value, 4 * index));
  const socket = connect(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  return new Promise((resolve) => {
    socket.on('error', () => undefined).on('close', () => resolve());
    socket.setTimeout(CANCEL_TIMEOUT_MS, () => socket.destroy());
    // Not end(): PgBouncer 1.18 exits when a client hangs up during its request. The server closes the connection.
    socket.resume().write(request);
  });
}
