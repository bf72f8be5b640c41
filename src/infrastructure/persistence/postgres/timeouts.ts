import type { Socket } from 'node:net';
import type { ClientBase, Pool } from 'pg';
import { noteReported, UNIT_LIMIT_MS } from '../sql.js';

/*
 * Half-open connections: the other machine lost its power, or the network drops packets. TCP notices after a quarter of an
 * hour or never, and the time-outs of the server can't help then.
 */

/** The server itself ends a writing statement after this time, in ms. */
export const STATEMENT_LIMIT_MS = 2 * UNIT_LIMIT_MS;
/** A server that hasn't responded to a statement by then is gone, in ms. */
export const RESPONSE_TIMEOUT_MS = STATEMENT_LIMIT_MS + 500;
/** How long closing a connection may take, in ms. */
const CLOSE_TIMEOUT_MS = 1000;

/** A client with `end()`. Clients of a pool have it too, although their type doesn't. */
type ClosableClient = ClientBase & { end?(): Promise<void> };

/** The database didn't respond in time. Whether it carried the statement out is unknown. */
export class DatabaseTimeout extends Error {
  override readonly name = 'DatabaseTimeout';
  /** The code of a socket that timed out. */
  readonly code = 'ETIMEDOUT';

  constructor(ms: number) {
    super(`The database did not respond within ${ms} ms`);
    noteReported(this);
  }
}

/**
 * Waits at most `ms` for a response over a connection. A late connection is closed, which fails its other requests, and a
 * pool doesn't take it back.
 * @param beforeClosing what to do while the late connection is still open
 * @throws DatabaseTimeout, or what `response` rejects with
 */
export function withTimeout<T>(
  client: ClosableClient,
  response: Promise<T>,
  ms = RESPONSE_TIMEOUT_MS,
  beforeClosing?: () => Promise<void>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let isOver = false;
    const over = (end: () => void) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      end();
    };
    const close = () => {
      reject(new DatabaseTimeout(ms));
      void closeConnection(client, 0);
    };
    const late = () => over(() => (beforeClosing ? void beforeClosing().finally(close) : close()));
    // setImmediate: a response that arrived while this process was paused is read first.
    const timer = setTimeout(() => setImmediate(late), ms);
    response.then(
      (value) => over(() => resolve(value)),
      (error: Error) => over(() => reject(error)),
    );
  });
}

/** Closes a connection; destroys its socket when the server doesn't answer within `ms`. Never throws. */
export async function closeConnection(client: ClosableClient, ms = CLOSE_TIMEOUT_MS): Promise<void> {
  const timer = setTimeout(() => destroySocket(client), ms);
  await client.end?.().catch(() => undefined);
  clearTimeout(timer);
}

/** Bytes received over a connection so far. */
export function bytesReceived(client: ClientBase): number {
  return socketOf(client).bytesRead;
}

export function destroySocket(client: ClientBase): void {
  socketOf(client).destroy();
}

/**
 * Destroys connections of a pool that receive nothing for `ms` while they are in use.
 * @param destroyed called then: the server may keep the session
 */
export function limitInactivity(pool: Pool, ms: number, destroyed: (client: ClientBase) => void): void {
  const limits = new WeakMap<ClientBase, () => void>();
  const limitOf = (client: ClientBase) => {
    const known = limits.get(client);
    if (known) return known;
    const socket = socketOf(client);
    const late = () => {
      const { bytesRead } = socket;
      // setImmediate: data that arrived while this process was paused is read first.
      setImmediate(() => {
        if (socket.bytesRead !== bytesRead) return;
        socket.destroy(new DatabaseTimeout(ms));
        destroyed(client);
      });
    };
    limits.set(client, late);
    return late;
  };
  // The socket is limited, and not the statement, so that statements of TypeORM are limited, too.
  pool.on('acquire', (client) => socketOf(client).setTimeout(ms, limitOf(client)));
  pool.on('release', (_, client) => socketOf(client).setTimeout(0, limitOf(client)));
}

function socketOf(client: ClientBase): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}
