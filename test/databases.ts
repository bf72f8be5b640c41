import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

/** A kind of database, and how to get a fresh one of it. */
export interface DatabaseKind {
  readonly kind: 'sqlite' | 'postgres';
  /** @returns the DATABASE_URL of a new, empty database */
  fresh: () => Promise<string>;
}

const sqlite: DatabaseKind = {
  kind: 'sqlite',
  fresh: async () => `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-test-')), 'cabs.db')}`,
};

const postgres: DatabaseKind = {
  kind: 'postgres',
  fresh: async () => {
    const name = `cabs_${process.pid}_${Math.random().toString(36).slice(2)}`;
    const client = new pg.Client({ connectionString: process.env.TEST_DATABASE_URL });
    await client.connect();
    await client.query(`CREATE DATABASE ${name}`);
    await client.end();
    const url = new URL(process.env.TEST_DATABASE_URL!);
    url.pathname = `/${name}`;
    return url.href;
  },
};

/** The databases that every suite with a database runs on: `describe.each(DATABASES)('… on $kind', ({ fresh }) => …)`. */
export const DATABASES: DatabaseKind[] = process.env.TEST_DATABASE_URL ? [sqlite, postgres] : [sqlite];
