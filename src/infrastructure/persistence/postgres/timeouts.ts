import type { Socket } from 'node:net';
import type { ClientBase, Pool } from 'pg';
import { UNIT_LIMIT_MS } from '../sql.js';

/*
 * What to do about a peer that says nothing any more and doesn't hang up either: a machine that lost its power, a way that
 * swallows packets. TCP notices in a quarter of an hour, or never, and the time-outs of the server are of no use then.
 */

/** The server ends a statement that writes after so long by itself, in ms. */
export const STATEMENT_LIMIT_MS = 2 * UNIT_LIMIT_MS;
/** Whoever hasn't answered a statement by then isn't there any more, in ms. */
export const RESPONSE_TIMEOUT_MS = STATEMENT_LIMIT_MS + 500;
/** How long a farewell may take, in ms. */
const FAREWELL_MS = 1000;

/** A client that can be ended: one of a pool has it, too, though its type doesn't say so. */
type ClosableClient = ClientBase & { end?(): Promise<void> };

/** The database didn't answer in time. Whether it did what it was told, nobody knows. */
export class DatabaseTimeout extends Error {
  override readonly name = 'Unanswered';
  /** As a socket has it. */
  readonly code = 'ETIMEDOUT';

  constructor(ms: number) {
    super(`The database didn't answer within ${ms} ms`);
  }
}

/**
 * Waits for an answer that comes over a connection, for `ms` at most. A connection that is late is cut off, and with it
 * fails whatever else waits there; a pool doesn't take it back.
 * @throws Unanswered, or whatever `answer` throws
 */
export function withTimeout<T>(client: ClosableClient, answer: Promise<T>, ms = RESPONSE_TIMEOUT_MS): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let isOver = false;
    const late = () => {
      if (isOver) return;
      reject(new DatabaseTimeout(ms));
      void closeConnection(client, 0);
    };
    // An answer that has come while this process stood still is read first.
    const timer = setTimeout(() => setImmediate(late), ms);
    const over = () => {
      isOver = true;
      clearTimeout(timer);
    };
    answer.finally(over).then(resolve, reject);
  });
}

/** Ends a connection; without the other side, when that doesn't answer the farewell within `ms`. It never throws. */
export async function closeConnection(client: ClosableClient, ms = FAREWELL_MS): Promise<void> {
  const cut = setTimeout(() => destroySocket(client), ms);
  await client.end?.().catch(() => undefined);
  clearTimeout(cut);
}

/** How much has come over a connection so far. */
export function bytesReceived(client: ClientBase): number {
  return socketOf(client).bytesRead;
}

/** Cuts a connection off at once. */
export function destroySocket(client: ClientBase): void {
  socketOf(client).destroy();
}

/** Cuts off the connections of a pool that are silent for longer than `ms` while they are in use. */
export function limitInactivity(pool: Pool, ms: number): void {
  function late(this: Socket): void {
    const { bytesRead } = this;
    // As above: what has come meanwhile is read first.
    setImmediate(() => this.bytesRead === bytesRead && this.destroy(new DatabaseTimeout(ms)));
  }
  // Whatever asks over it, TypeORM included, and also when it would give a connection back whose answer hasn't come yet.
  pool.on('acquire', (client) => socketOf(client).setTimeout(ms, late));
  pool.on('release', (_, client) => socketOf(client).setTimeout(0, late));
}

function socketOf(client: ClientBase): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}
