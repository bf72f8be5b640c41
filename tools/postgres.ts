import { once } from 'node:events';
import { rmSync } from 'node:fs';
import pg from 'pg';
import { postgresBinaries, start } from '../test/support/postgres.js';

/** A PostgreSQL of our own. */
export interface OwnPostgres {
  /** Makes a new, empty database. @returns its address */
  fresh(): Promise<string>;
  /** Of `SELECT version()`, the beginning. */
  readonly version: string;
  /** Ends it, and removes its files. */
  stop(): Promise<void>;
}

/** Starts a PostgreSQL from a local installation, at its default durability; undefined where there is none. */
export async function startPostgres(): Promise<OwnPostgres | undefined> {
  const binaries = postgresBinaries();
  if (!binaries) return undefined;
  const { server, url, folder } = await start(binaries);
  // Whoever ends us in our midst ends it too.
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  const { rows } = await admin.query<{ version: string }>(`SELECT split_part(version(), ' on ', 1) AS version`);
  let databases = 0;
  return {
    version: rows[0]!.version,
    fresh: async () => {
      const name = `fresh_${++databases}`;
      await admin.query(`CREATE DATABASE ${name}`);
      return url.replace(/\/postgres$/, `/${name}`);
    },
    stop: async () => {
      await admin.end();
      const gone = once(server, 'exit');
      server.kill('SIGINT');
      await gone;
      process.off('exit', kill);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
