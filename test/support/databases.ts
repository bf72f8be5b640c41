import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import pg from 'pg';

/** The name of the better-sqlite3 that runs on this version of Node: 12 ends a process of Node 24. */
export const BETTER_SQLITE3 = parseInt(process.versions.node) >= 22 ? 'better-sqlite3-13' : 'better-sqlite3';

/** A kind of database. */
export interface DatabaseKind {
  readonly kind: 'sqlite' | 'postgres';
  /** @returns the DATABASE_URL of a new, empty database */
  fresh: () => Promise<string>;
  /** Makes a database unavailable to other connections. @returns a function that makes it available again */
  makeUnavailable: (url: string) => Promise<() => Promise<void>>;
}

const sqlite: DatabaseKind = {
  kind: 'sqlite',
  fresh: async () => `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-test-')), 'cabs.db')}`,
  makeUnavailable: async (url) => {
    const db = new BetterSqlite3(url.replace('sqlite:', ''));
    db.exec('BEGIN EXCLUSIVE');
    return async () => void db.close();
  },
};

const postgres: DatabaseKind = {
  kind: 'postgres',
  fresh: async () => {
    const name = `cabs_${process.pid}_${Math.random().toString(36).slice(2)}`;
    await administer(`CREATE DATABASE ${name}`);
    const url = new URL(process.env.TEST_DATABASE_URL!);
    url.pathname = `/${name}`;
    return url.href;
  },
  makeUnavailable: async (url) => {
    const name = new URL(url).pathname.slice(1);
    await administer(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
    await administer(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`);
    return () => administer(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  },
};

async function administer(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: process.env.TEST_DATABASE_URL });
  await client.connect();
  await client.query(statement);
  await client.end();
}

/** All suites with a database run on these: `describe.each(DATABASES)('… on $kind', ({ fresh }) => …)`. */
export const DATABASES: DatabaseKind[] = process.env.TEST_DATABASE_URL ? [sqlite, postgres] : [sqlite];
