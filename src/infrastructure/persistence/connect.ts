import { setTimeout as wait } from 'node:timers/promises';
import type { Pool } from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { errorMessage } from '../observability/error-message.js';
import { closeChanged } from './postgres/session-statements.js';
import { bindNumbers } from './sqlite/bound-numbers.js';
import { isBusy } from './sqlite/sqlite-statements.js';

/** SQLite refuses a connection while another process turns the write-ahead log on: tries again for a second. */
export async function connect(options: DataSourceOptions): Promise<DataSource> {
  for (let attempts = 1; ; attempts++) {
    try {
      const dataSource = await new DataSource(options).initialize();
      if (options.type === 'better-sqlite3') bindNumbers(dataSource);
      else closeChanged(poolOf(dataSource));
      return dataSource;
    } catch (error) {
      if (!isBusy(error) || attempts > 50) throw namingFile(options, error);
      await wait(20);
    }
  }
}

export function poolOf(dataSource: DataSource): Pool {
  return (dataSource.driver as unknown as { master: Pool }).master;
}

/** The messages of SQLite don't say which file it is. */
function namingFile({ type, database }: DataSourceOptions, error: unknown): unknown {
  if (type !== 'better-sqlite3') return error;
  const file = String(database);
  return new Error(`The database file ${file} can't be used: ${errorMessage(error)}`, { cause: error });
}
