import type { Client, ClientConfig } from 'pg';
import { withTimeout, closeConnection } from './postgres/timeouts.js';

/** A right that one process has at a time. */
export interface Lock {
  /** Whether this process has it; asks for it if not. */
  held(): Promise<boolean>;
  release(): Promise<void>;
}

/** Where there is one process to a database, as on SQLite, it has every right. */
export const noLock: Lock = { held: async () => true, release: async () => undefined };

/**
 * An advisory lock of a session: PostgreSQL takes it back by itself when the process or its connection has died.
 * @param name shared by all who want the right
 */
export class PostgresLock implements Lock {
  private client?: Client;

  constructor(
    private readonly connection: ClientConfig,
    private readonly name: string,
  ) {}

  async held(): Promise<boolean> {
    if (this.client) return true;
    // Loaded where it is needed: most processes start on SQLite.
    const { default: pg } = await import('pg');
    const client = new pg.Client({ ...this.connection, application_name: 'mesh' });
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
