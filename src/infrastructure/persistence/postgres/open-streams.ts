import type { EventEmitter } from 'node:events';
import type { ClientBase } from 'pg';

/** What `pg` wants of a cursor, a stream, or another query that a caller made. */
export interface Submittable {
  submit: (connection: unknown) => unknown;
  handleReadyForQuery: (...parameters: unknown[]) => unknown;
  handleError: (...parameters: unknown[]) => unknown;
  on?: EventEmitter['on'];
}

/**
 * The cursors and streams of one transaction that wait for their reader. Each keeps all later statements of the connection
 * waiting, also COMMIT and ROLLBACK, until it is read to its end or closed.
 */
export class OpenStreams {
  /** Those that the connection has begun are true. */
  private readonly open = new Map<Submittable, boolean>();
  private readonly connection: { sync(): void };

  constructor(client: ClientBase) {
    this.connection = (client as unknown as { connection: { sync(): void } }).connection;
  }

  get isOpen(): boolean {
    return this.open.size > 0;
  }

  /** To be called before `query` is given to the client. */
  add(query: Submittable): void {
    if (!this.isOpen) this.watchSync();
    this.open.set(query, false);
    const [submit, ready, failed] = [query.submit, query.handleReadyForQuery, query.handleError];
    Object.assign(query, {
      submit: (connection: unknown) => {
        if (this.open.has(query)) this.open.set(query, true);
        return submit.call(query, connection);
      },
      handleReadyForQuery: (...parameters: unknown[]) => {
        this.open.delete(query);
        return ready.apply(query, parameters);
      },
      handleError: (...parameters: unknown[]) => {
        this.open.delete(query);
        return failed.apply(query, parameters);
      },
    });
    // Without a listener, the error of a stream whose connection is closed would end the process. The unit fails anyway.
    query.on?.('error', () => undefined);
  }

  /** To be called at the end of the transaction. */
  end(): void {
    Reflect.deleteProperty(this.connection, 'sync');
  }

  /** A cursor sends Sync when it is read to its end or closed, and the server ends it then. Its answer may still be on the way. */
  private watchSync(): void {
    this.end();
    const sync = this.connection.sync.bind(this.connection);
    Object.assign(this.connection, {
      sync: () => {
        for (const [query, isBegun] of this.open) if (isBegun) this.open.delete(query);
        sync();
      },
    });
  }
}
