import type { EventEmitter } from 'node:events';
import type { Client, ClientConfig } from 'pg';
import { DatabaseUnavailable, noteReported } from '../sql.js';
import { inspected } from './session-statements.js';
import { closeConnection, withTimeout } from './timeouts.js';

/** Longest time for opening a session, from the first packet to the last setting, in ms. */
export const OPEN_TIMEOUT_MS = 5000;

/** PostgreSQL's settings (`SHOW ALL`) by their names. */
export type SessionSettings = Readonly<Record<string, string>>;

/** A client that knows the process of its session. Behind a pooler, `processID` is a number that the pooler made up. */
export interface ServerSession {
  readonly serverPid?: number;
}

/** How to open connections whose sessions have the settings of the mesh: `new it.Client(it)`. */
export type SessionConfig = ClientConfig & { readonly Client: new (config: ClientConfig) => Client };

/**
 * The settings that the mesh needs. They replace the defaults of the server, the database and the role, and the parameters
 * of DATABASE_URL. The search path stays as it is.
 */
const SETTINGS: SessionSettings = {
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  default_transaction_read_only: 'off',
  lock_timeout: '0',
  idle_session_timeout: '0',
  transaction_timeout: '0',
  // Times are double precision: fewer digits would change them.
  extra_float_digits: '1',
  synchronous_commit: 'on',
  // A COMMIT whose wait for the standby was cancelled says so in a WARNING.
  client_min_messages: 'warning',
};

/**
 * PostgreSQL 13 knows no idle_session_timeout and 16 no transaction_timeout: what a server doesn't know is left out. Of
 * synchronous_commit only `off` is replaced, which would lose messages.
 */
const APPLY = `SELECT count(set_config(name, value, false)), pg_is_in_recovery() AS is_standby, pg_backend_pid() AS pid
  FROM unnest($1::text[], $2::text[]) AS wanted(name, value)
  WHERE current_setting(name, true) IS NOT NULL AND (name <> 'synchronous_commit' OR current_setting(name) = 'off')`;

/** Unqualified names are those of the schema of the data source, then what the search path had before. */
const USE_SCHEMA = `SELECT set_config('search_path', quote_ident($1) || ', ' || current_setting('search_path'), false)`;

interface Opened {
  readonly is_standby: boolean;
  readonly pid: number;
}

/**
 * A client of `pg` for a pool or alone, whose sessions have the settings of the mesh, and `settings`. A statement makes
 * them: the address of a database can override start-up parameters, and poolers refuse some. `connect()` throws
 * DatabaseUnavailable for every failure: an unknown host, network, TLS, login, a standby that takes no writes, a server that
 * doesn't respond within 5 s.
 */
export async function sessionClient(settings: SessionSettings, schema?: string): Promise<SessionConfig['Client']> {
  // Loaded on demand: most processes start on SQLite.
  const { default: pg } = await import('pg');
  const all = { ...SETTINGS, ...settings };
  const parameters = [Object.keys(all), Object.values(all)];

  return class Session extends pg.Client implements ServerSession {
    serverPid?: number;

    constructor(config: ClientConfig) {
      super(config);
      // An 'error' event without a listener ends the process, and a pool adds its listener only after connect(). Queries that
      // wait for an answer are rejected with the same error.
      this.on('error', noteReported);
      const { connection } = this as unknown as { connection: EventEmitter };
      connection.on('errorMessage', noteReported);
    }

    override connect(): Promise<Client>;
    override connect(callback: (error: Error) => void): void;
    override connect(callback?: (error: Error) => void): Promise<Client> | void {
      const opened = this.open();
      if (!callback) return opened;
      opened.then(() => (callback as () => void)(), callback);
    }

    override query(...parameters: unknown[]): never {
      return super.query(...(inspected(this, parameters) as Parameters<Client['query']>)) as never;
    }

    private async open(): Promise<Client> {
      try {
        // connectionTimeoutMillis of `pg` ends with the login: a pooler answers that before it has a session to give.
        await withTimeout(this, this.logIn(), OPEN_TIMEOUT_MS);
        return this;
      } catch (error) {
        void closeConnection(this, 0);
        throw new DatabaseUnavailable(`The database is not available: ${(error as Error).message}`, { cause: error });
      }
    }

    private async logIn(): Promise<void> {
      await super.connect();
      // These settings are no changes of the session.
      if (schema) await super.query(USE_SCHEMA, [schema]);
      const { rows } = await super.query<Opened>(APPLY, parameters);
      this.serverPid = rows[0]?.pid;
      if (rows[0]?.is_standby && all.default_transaction_read_only === 'off')
        throw new Error('this server is a standby, which takes no writes');
    }
  };
}
