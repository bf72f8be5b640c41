import { sqliteDriver } from '../../src/infrastructure/persistence/sqlite/sqlite-driver.js';
import { SnakeCase } from '../../src/infrastructure/persistence/data-source-options.js';

/** Longest wait for a lock that another process holds, in ms. */
const BUSY_TIMEOUT_MS = 5000;

const driver: unknown = await sqliteDriver();

/** Options of `TypeOrmModule.forRoot`: the SQLite file that the environment variable DATABASE names. */
export function sqliteOptions() {
  return {
    type: 'better-sqlite3',
    driver,
    database: process.env.DATABASE!,
    namingStrategy: new SnakeCase(),
    timeout: BUSY_TIMEOUT_MS,
    prepareDatabase: (db: { pragma(text: string): unknown }) => {
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
    },
  } as const;
}
