import type { ChildProcess } from 'node:child_process';
import { postgresBinaries, startServer } from '../../tools/postgres-server.js';

/**
 * Runs before all tests: takes the server of TEST_DATABASE_URL, or starts one from a local installation in a temporary
 * folder. Every suite with a database then runs on SQLite and on PostgreSQL.
 */
export default async function findPostgres(): Promise<void> {
  if (process.env.TEST_DATABASE_URL) {
    console.log('\nDatabases under test: SQLite, and the PostgreSQL of TEST_DATABASE_URL');
    return;
  }
  const binaries = postgresBinaries();
  if (!binaries) {
    console.log(
      '\nDatabases under test: SQLite. Skipped: PostgreSQL. Set TEST_DATABASE_URL or install PostgreSQL to test on it.',
    );
    return;
  }
  const started = await startServer(binaries);
  globalThis.ownPostgres = started.server;
  process.env.TEST_DATABASE_URL = started.url;
  console.log(`\nDatabases under test: SQLite, and PostgreSQL from ${binaries}`);
}

declare global {
  var ownPostgres: ChildProcess | undefined;
}
