import type { default as Driver } from 'better-sqlite3';
import { sqliteDriver } from '../src/infrastructure/persistence/sqlite/sqlite-driver.js';

/** The better-sqlite3 that runs on this version of Node. */
export const BetterSqlite3 = ((await sqliteDriver()) ?? (await import('better-sqlite3')).default) as typeof Driver;
