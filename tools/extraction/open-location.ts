import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { connectTo } from '../../src/infrastructure/persistence/database.js';
import { isBusy } from '../../src/infrastructure/persistence/sqlite/sqlite-statements.js';
import { inUse, Refused, type Location } from './location.js';
import { PostgresLocation } from './postgres-location.js';
import { SqliteLocation } from './sqlite-location.js';

/** @throws Refused when there is another process on it, as far as that can be told without a transaction */
export async function openLocation(location: string): Promise<Location> {
  const dataSource = await connectTo(location).catch((error: unknown) => {
    throw isBusy(error) ? inUse(addressOf(location)) : error;
  });
  try {
    const Kind = dataSource.options.type === 'postgres' ? PostgresLocation : SqliteLocation;
    return await Kind.open(dataSource, addressOf(location));
  } catch (error) {
    await dataSource.destroy();
    throw error;
  }
}

/** @throws Refused when it is the location of no database */
export function addressOf(location: string): string {
  const path = fileOf(location);
  if (path !== undefined) return `sqlite:${path}`;
  if (!/^postgres(ql)?:\/\//.test(location) || !URL.canParse(location)) {
    throw new Refused(`A database is sqlite:<path of a file> or postgres://…, not ${location}`);
  }
  const { host, pathname } = new URL(location);
  return `postgres://${host}${pathname}`;
}

/** The real path of the file that a location means, also when it isn't there yet; undefined where it isn't a file. */
export function fileOf(location: string): string | undefined {
  const [, given] = /^sqlite:(?!:memory:$)(.+)$/.exec(location) ?? [];
  if (given === undefined) return undefined;
  const path = resolve(given);
  if (existsSync(path)) return realpathSync(path);
  const folder = dirname(path);
  return existsSync(folder) ? join(realpathSync(folder), basename(path)) : path;
}
