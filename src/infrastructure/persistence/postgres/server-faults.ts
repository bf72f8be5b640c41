import type { EventEmitter } from 'node:events';
import type { ClientBase, Pool } from 'pg';
import { driverErrorOf, isServerAtFault, PartlyUnavailable } from '../sql.js';

/** A fault counts as present for so long after it was last seen, in ms. */
const PRESENT_MS = 5000;

/**
 * Remembers for a few seconds that PostgreSQL failed statements through no fault of theirs: rights were revoked, tables of
 * the mesh are missing, data is damaged, or the answers are slow. Other statements may still succeed meanwhile.
 */
export class ServerFaults {
  private fault?: PartlyUnavailable;
  private notedAt = -Infinity;
  private readonly watched = new WeakSet<ClientBase>();

  /** The last fault; undefined when there was none lately. */
  get found(): PartlyUnavailable | undefined {
    return performance.now() - this.notedAt < PRESENT_MS ? this.fault : undefined;
  }

  note(fault: PartlyUnavailable): void {
    this.fault = fault;
    this.notedAt = performance.now();
  }

  /** Watches all statements over the connections of a pool, also those of TypeORM. */
  watch(pool: Pool): void {
    pool.on('acquire', (client) => {
      if (this.watched.has(client)) return;
      this.watched.add(client);
      const { connection } = client as unknown as { connection: EventEmitter };
      connection.on('errorMessage', (error: unknown) => {
        if (isServerAtFault(error)) this.note(serverFault(error));
      });
    });
  }
}

/** The error to throw for one that `isServerAtFault()`. */
export function serverFault(cause: unknown): PartlyUnavailable {
  const { code, message } = driverErrorOf(cause);
  return new PartlyUnavailable(`PostgreSQL fails statements of this process: ${String(message)} (${String(code)})`, {
    cause,
  });
}
