import type { Client } from 'pg';
import type { SessionConfig } from './postgres/session.js';
import { closeConnection, withTimeout } from './postgres/timeouts.js';

/** A lock that one process holds at a time. */
export interface Lock {
  /** Acquires the lock unless this process holds it. @returns whether it does now */
  acquire(): Promise<boolean>;
  release(): Promise<void>;
}

/** Always held: for a database with one process, such as SQLite. */
export const noLock: Lock = { acquire: async () => true, release: async () => undefined };

/** An advisory lock of a session: PostgreSQL releases it when the process or its connection is gone. */
export class PostgresLock implements Lock {
  private client?: Client;

  /** @param name the same in all processes that share the lock */
  constructor(
    private readonly connection: SessionConfig,
    private readonly name: string,
  ) {}

  async acquire(): Promise<boolean> {
    if (this.client) return true;
    const client = new this.connection.Client({ ...this.connection, application_name: 'mesh' });
    client.on('error', () => this.lost(client));
    client.on('end', () => this.lost(client));
    try {
      await client.connect();
      const sql = `SELECT pg_try_advisory_lock(hashtext($1)) AS free`;
      const { rows } = await withTimeout(client, client.query<{ free: boolean }>(sql, [this.name]));
      if (rows[0]?.free) this.client = client;
      return rows[0]?.free ?? false;
    } finally {
      if (this.client !== client) await closeConnection(client);
    }
  }

  async release(): Promise<void> {
    const { client } = this;
    this.client = undefined;
    if (client) await closeConnection(client);
  }

  private lost(client: Client): void {
    if (this.client === client) this.client = undefined;
  }
}
