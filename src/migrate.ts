import 'reflect-metadata';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { DataSource } from 'typeorm';
import { sqliteDriver } from './infrastructure/persistence/sqlite/sqlite-driver.js';
import { HISTORIES } from '../migrations/histories.js';
import { hostedBy, MODULE_NAMES, MODULES } from './app.module.js';
import { loadConfig } from './config-loader.js';
import type { Config } from './config.js';
import { errorMessage } from './infrastructure/observability/error-message.js';
import { connectTo, migrateDatabase } from './infrastructure/persistence/database.js';
import { migrationSql, pendingMigrations, type MigrationHistory } from './infrastructure/persistence/migrate.js';
import { assertVisible } from './infrastructure/persistence/postgres/hidden-tables.js';
import { missingRights } from './infrastructure/persistence/missing-rights.js';
import { assertAtHome } from './infrastructure/persistence/ownership.js';
import { assertHistoriesComplete, migrationHistories } from './infrastructure/store/migration-histories.js';

const USAGE = `npm run migrate [-- --status | --sql | --help]

  Applies the missing migrations to the database of DATABASE_URL: those of the mesh, and those of the modules in
  MODULES. Several processes may do this at the same time.

  --status   Lists the missing migrations of each owner, and applies none. Exits with 1 when one is missing.
  --sql      Prints the SQL that would run, and runs none of it.
  --help     Prints this text.`;

const options = {
  status: { type: 'boolean' },
  sql: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

function parseCommand(): 'status' | 'sql' | 'help' | 'migrate' {
  const { values } = parseArgs({ options });
  const [command = 'migrate', ...more] = (['help', 'status', 'sql'] as const).filter((it) => values[it]);
  if (more.length > 0) throw new Error(`Give one of --${[command, ...more].join(' and --')}`);
  return command;
}

async function run(command: 'status' | 'sql' | 'migrate'): Promise<void> {
  const { config } = await loadConfig(MODULE_NAMES, { purpose: 'migrate' });
  try {
    await runOn(config, command);
  } catch (error) {
    const explained = missingRights(error, config.databaseUrl);
    throw explained ? new Error(explained, { cause: error }) : error;
  }
}

async function runOn(config: Config, command: 'status' | 'sql' | 'migrate'): Promise<void> {
  assertHistoriesComplete(MODULES, HISTORIES);
  const histories = migrationHistories(hostedBy(config), HISTORIES);
  if (command === 'status') return printStatus(config.databaseUrl, histories);
  if (command === 'sql') return printSql(config.databaseUrl, histories);
  const applied = await migrateDatabase(config.databaseUrl, histories);
  console.log(applied.length > 0 ? `Applied:\n- ${applied.join('\n- ')}` : 'Nothing to apply.');
}

async function printStatus(databaseUrl: string, histories: readonly MigrationHistory[]): Promise<void> {
  const pending = await readOnly(databaseUrl, histories, async (dataSource) => {
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
  if (pending.length > 0) process.exitCode = 1;
}

async function printSql(databaseUrl: string, histories: readonly MigrationHistory[]): Promise<void> {
  const statements = await readOnly(databaseUrl, histories, (dataSource) => migrationSql(dataSource, histories));
  for (const it of statements) console.log(it.startsWith('--') ? it : `${it};`);
  if (statements.length === 0) console.log('-- Nothing to apply.');
}

async function readOnly<Result>(
  databaseUrl: string,
  histories: readonly MigrationHistory[],
  read: (dataSource: DataSource) => Promise<Result>,
): Promise<Result> {
  const dataSource = await openToRead(databaseUrl);
  try {
    const owners = histories.map(({ owner }) => owner);
    await assertAtHome(dataSource, owners);
    return await read(dataSource);
  } finally {
    await dataSource.destroy();
  }
}

/** A SQLite file that doesn't exist counts as empty, and is not created. */
async function openToRead(databaseUrl: string): Promise<DataSource> {
  const file = /^sqlite:(.+)$/.exec(databaseUrl)?.[1];
  if (!file) return connectTo(databaseUrl);
  const place = existsSync(file) ? { database: file, readonly: true } : { database: ':memory:' };
  return new DataSource({ type: 'better-sqlite3', driver: await sqliteDriver(), ...place }).initialize();
}

let command: ReturnType<typeof parseCommand> | undefined;
try {
  command = parseCommand();
} catch (error) {
  console.error(`${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = 2;
}
if (command === 'help') {
  console.log(USAGE);
} else if (command) {
  await run(command).catch((error: unknown) => {
    console.error(errorMessage(error) || String(error));
    process.exitCode = 1;
  });
}
