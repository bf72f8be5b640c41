import { once } from 'node:events';
import { rmSync } from 'node:fs';
import pg from 'pg';
import { postgresBinaries, startServer } from './postgres-server.js';

/** A PostgreSQL server that this process has started for itself. */
export interface OwnPostgres {
  /** Creates a new, empty database. @returns its URL */
  newDatabase(): Promise<string>;
  /** `SELECT version()` without the platform. */
  readonly version: string;
  /** The process id of the server. */
  readonly pid: number;
  /** Stops the server, and removes its files. */
  stop(): Promise<void>;
}

/** Starts PostgreSQL from a local installation, at its default durability. @returns undefined without an installation */
export async function startPostgres(): Promise<OwnPostgres | undefined> {
  const binaries = postgresBinaries();
  if (!binaries) return undefined;
  const { server, url, folder } = await startServer(binaries);
  // The server must not outlive this process.
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  const { rows } = await admin.query<{ version: string }>(`SELECT split_part(version(), ' on ', 1) AS version`);
  let databases = 0;
  return {
    version: rows[0]!.version,
    pid: server.pid!,
    newDatabase: async () => {
      const name = `fresh_${++databases}`;
      await admin.query(`CREATE DATABASE ${name}`);
      return url.replace(/\/postgres$/, `/${name}`);
    },
    stop: async () => {
      await admin.end();
      const exited = once(server, 'exit');
      server.kill('SIGINT');
      await exited;
      process.off('exit', kill);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
