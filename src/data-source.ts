import 'reflect-metadata';
import { DataSource, type DataSourceOptions, type QueryRunner, type ReplicationMode, type Table } from 'typeorm';
import { sqliteDriver } from './infrastructure/persistence/sqlite/sqlite-driver.js';
import { HISTORIES } from '../migrations/histories.js';
import { MODULE_NAMES, MODULES } from './app.module.js';
import { loadVariables } from './config-loader.js';
import { readConfig } from './config.js';
import { meshFeatureOf } from './infrastructure/contracts/mesh-feature.js';
import { SnakeCase } from './infrastructure/persistence/data-source-options.js';
import { historyTable } from './infrastructure/persistence/migrate.js';
import { meshMigrations } from './infrastructure/store/migration-histories.js';

/*
 * For TypeORM's own command line, which knows one history per data source. Build first, and name the owner:
 *
 *   npm run build
 *   MIGRATIONS_OWNER=rides npx typeorm migration:show -d dist/src/data-source.js
 *   MIGRATIONS_OWNER=rides npx typeorm migration:generate -d dist/src/data-source.js migrations/rides/add-something
 *
 * Then add the new class to migrations/histories.ts, and apply it with `npm run migrate`, which takes a lock.
 */

/**
 * TypeORM misreads the primary keys of SQLite: without NOT NULL as nullable, an integer without AUTOINCREMENT as not
 * generated. Without this class, `migration:generate` would rebuild every table.
 */
class OwnerDataSource extends DataSource {
  override createQueryRunner(mode?: ReplicationMode): QueryRunner {
    const runner = super.createQueryRunner(mode);
    if (this.options.type !== 'better-sqlite3') return runner;
    const getTables = runner.getTables.bind(runner);
    runner.getTables = async (paths) => {
      const tables = await getTables(paths);
      for (const table of tables) this.correctPrimaryKey(table);
      return tables;
    };
    return runner;
  }

  private correctPrimaryKey({ name, primaryColumns }: Table): void {
    const entity = this.entityMetadatas.find(({ tableName }) => tableName === name);
    for (const column of primaryColumns) {
      column.isNullable = false;
      column.isGenerated ||= entity?.findColumnWithDatabaseName(column.name)?.isGenerated ?? false;
    }
  }
}

function optionsOf(owner: string | undefined, databaseUrl: string): DataSourceOptions {
  const history = [...HISTORIES, meshMigrations].find((it) => it.owner === owner);
  if (!history) {
    const got = owner ? `, got "${owner}"` : '';
    throw new Error(
      `Invalid environment variable MIGRATIONS_OWNER: expected one of ${MODULE_NAMES.join(', ')}, mesh${got}.`,
    );
  }
  const module = MODULES.map(meshFeatureOf).find(({ name }) => name === owner);
  const common = {
    entities: [...(module?.entities ?? [])],
    migrations: [...history.migrations],
    migrationsTableName: historyTable(history.owner),
    namingStrategy: new SnakeCase(),
  };
  const file = /^sqlite:(.+)$/.exec(databaseUrl)?.[1];
  if (file) return { ...common, type: 'better-sqlite3', driver, database: file };
  return { ...common, type: 'postgres', url: databaseUrl };
}

const driver: unknown = await sqliteDriver();
const { DATABASE_URL, DATABASE_URL_FILE, MIGRATIONS_OWNER } = await loadVariables();
const { databaseUrl } = readConfig({ DATABASE_URL, DATABASE_URL_FILE }, MODULE_NAMES, 'migrate');

export default new OwnerDataSource(optionsOf(MIGRATIONS_OWNER, databaseUrl));
