import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { addressProblem, parseAddress } from '../../src/infrastructure/persistence/database-address.js';
import { connectTo } from '../../src/infrastructure/persistence/database.js';
import { isBusy } from '../../src/infrastructure/persistence/sqlite/sqlite-statements.js';
import { RefusedError } from '../errors.js';
import { inUse, type Location } from './location.js';
import { PostgresLocation } from './postgres-location.js';
import { SqliteLocation } from './sqlite-location.js';

/** Opens a database. @throws RefusedError when another process uses it, as far as that shows without a transaction */
export async function openLocation(location: string): Promise<Location> {
  const dataSource = await connectTo(location).catch((error: unknown) => {
    throw isBusy(error) ? inUse(addressOf(location)) : error;
  });
  try {
    const LocationClass = dataSource.options.type === 'postgres' ? PostgresLocation : SqliteLocation;
    return await LocationClass.open(dataSource, addressOf(location));
  } catch (error) {
    await dataSource.destroy();
    throw error;
  }
}

/** The address of a database without user and password. @throws RefusedError for text that is no address of a database */
export function addressOf(location: string): string {
  const path = fileOf(location);
  if (path !== undefined) return `sqlite:${path}`;
  if (addressProblem(location) !== undefined) {
    throw new RefusedError(`Invalid database ${location}: expected sqlite:<path of a file> or postgres://…`);
  }
  const { host, pathname } = parseAddress(location);
  return `postgres://${host}${pathname}`;
}

/** The real path of a SQLite file, also of one that doesn't exist yet. @returns undefined for other databases */
export function fileOf(location: string): string | undefined {
  const [, given] = /^sqlite:(?!:memory:$)(.+)$/.exec(location) ?? [];
  if (given === undefined) return undefined;
  const path = resolve(given);
  if (existsSync(path)) return realpathSync(path);
  const folder = dirname(path);
  return existsSync(folder) ? join(realpathSync(folder), basename(path)) : path;
}
