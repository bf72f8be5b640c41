import { existsSync } from 'node:fs';
import { DataSource } from 'typeorm';
import { connectTo, migrateDatabase } from './database.js';
import type { DatabaseLocation } from './host-data-source.js';
import { migrationSql, pendingMigrations, type MigrationHistory } from './migrate.js';
import { missingRights } from './missing-rights.js';
import { assertAtHome } from './ownership.js';
import { assertVisible } from './postgres/hidden-tables.js';
import { sqliteDriver } from './sqlite/sqlite-driver.js';

/** `migrate` applies what is missing, `status` lists it, `sql` prints its statements. */
export type MigrationCommand = 'migrate' | 'status' | 'sql';

type Histories = MigrationHistory[];

/** The database of the command line. */
interface Target {
  readonly url: string;
  /** On PostgreSQL, the schema of the tables; default: the first of the search path. */
  readonly schema?: string;
}

/**
 * Runs a command of the command line, and prints what it did.
 * @returns false when `status` has found missing migrations
 * @throws Error, which says so when the user of the database lacks a right
 */
export async function runMigrationCommand(
  command: MigrationCommand,
  target: Target,
  histories: Histories,
): Promise<boolean> {
  try {
    if (command === 'status') return await printStatus(target, histories);
    await (command === 'sql' ? printSql : apply)(target, histories);
    return true;
  } catch (error) {
    const explained = missingRights(error, target.url);
    throw explained ? new Error(explained, { cause: error }) : error;
  }
}

async function apply(target: Target, histories: Histories): Promise<void> {
  const applied = await migrateDatabase(locationOf(target), histories);
  console.log(applied.length > 0 ? `Applied:\n- ${applied.join('\n- ')}` : 'Nothing to apply.');
}

async function printStatus(target: Target, histories: Histories): Promise<boolean> {
  const pending = await readOnly(target, histories, async (dataSource) => {
    const missing = await pendingMigrations(dataSource, histories);
    await assertVisible(dataSource, histories, missing);
    return missing;
  });
  for (const { owner, migrations } of histories) {
    const own = pending.filter((it) => it.startsWith(`${owner}/`));
    const missing = own.map((it) => `\n  ${it.slice(owner.length + 1)}`).join('');
    console.log(
      own.length > 0 ? `${owner}: ${own.length} missing${missing}` : `${owner}: ${migrations.length} applied`,
    );
  }
  return pending.length === 0;
}

async function printSql(target: Target, histories: Histories): Promise<void> {
  const statements = await readOnly(target, histories, (dataSource) => migrationSql(dataSource, histories));
  for (const it of statements) console.log(it.startsWith('--') ? it : `${it};`);
  if (statements.length === 0) console.log('-- Nothing to apply.');
}

async function readOnly<Result>(
  target: Target,
  histories: Histories,
  read: (dataSource: DataSource) => Promise<Result>,
): Promise<Result> {
  const dataSource = await openToRead(target);
  try {
    const owners = histories.map(({ owner }) => owner);
    await assertAtHome(dataSource, owners);
    return await read(dataSource);
  } finally {
    await dataSource.destroy();
  }
}

/** A SQLite file that doesn't exist counts as empty, and is not created. */
async function openToRead(target: Target): Promise<DataSource> {
  const file = /^sqlite:(.+)$/.exec(target.url)?.[1];
  if (!file) return connectTo(locationOf(target));
  const place = existsSync(file) ? { database: file, readonly: true } : { database: ':memory:' };
  return new DataSource({ type: 'better-sqlite3', driver: await sqliteDriver(), ...place }).initialize();
}

function locationOf({ url, schema }: Target): DatabaseLocation {
  return schema === undefined ? url : { type: 'postgres', url, schema };
}
