import { migrationNames, type MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import type { Moving } from '../../src/infrastructure/persistence/ownership.js';
import { RefusedError } from '../errors.js';
import type { Location } from './location.js';

/* The state of a module in a database: its mark in `mesh_module` and its migrations. */

/** @returns the module's mark, if it is moving or has moved */
export async function markOf(module: string, location: Location): Promise<Moving | undefined> {
  if (!(await location.tables('mesh_module')).includes('mesh_module')) return undefined;
  const select = 'SELECT name, state, place FROM mesh_module WHERE name = $1';
  return (await location.all<Moving>(select, [module]))[0];
}

export async function setMark(
  module: string,
  location: Location,
  state: Moving['state'],
  otherAddress: string,
): Promise<void> {
  await location.run(
    `INSERT INTO mesh_module (name, state, place, since) VALUES ($1, $2, $3, $4)
     ON CONFLICT (name) DO UPDATE SET state = excluded.state, place = excluded.place, since = excluded.since`,
    [module, state, otherAddress, Date.now()],
  );
}

/** @returns the names of the applied migrations of an owner */
export async function migrationsOf(owner: string, location: Location): Promise<string[]> {
  const table = `${owner}_migrations`;
  if (!(await location.tables(table)).includes(table)) return [];
  return (await location.all<{ name: string }>(`SELECT name FROM ${table}`)).map(({ name }) => name);
}

/** @throws RefusedError when the applied migrations differ from those of this version */
export async function assertMigrated(location: Location, history: MigrationHistory): Promise<void> {
  const { owner } = history;
  const applied = await migrationsOf(owner, location);
  const known = migrationNames(history);
  const missing = known.filter((name) => !applied.includes(name));
  const unknown = applied.filter((name) => !known.includes(name));
  if (missing.length > 0) {
    throw new RefusedError(
      `${location.address} lacks migrations of ${owner}: ${missing.join(', ')}. Apply them first: npm run migrate`,
    );
  }
  if (unknown.length > 0) {
    throw new RefusedError(
      `${location.address} has migrations of ${owner} that this version doesn't know: ${unknown.join(', ')}`,
    );
  }
}

/**
 * @param rows the module's rows in the target
 * @throws RefusedError when the target has rows of the module that don't come from an interrupted extraction
 */
export async function assertCanEnter(
  module: string,
  source: Location,
  target: Location,
  rows: () => Promise<number>,
): Promise<void> {
  const mark = await markOf(module, target);
  if (mark?.state === 'arriving') {
    if (mark.place === source.address) return; // an interrupted extraction from the same source
    throw new RefusedError(`${module} is on its way into ${target.address} from ${mark.place}: finish that move first`);
  }
  if (mark && mark.place !== source.address) {
    throw new RefusedError(
      `${module} has moved from ${target.address} to ${mark.place}, and can come back from there only. If the address ` +
        `of that database has changed: UPDATE mesh_module SET place = '${source.address}' WHERE name = '${module}'`,
    );
  }
  const found = await rows();
  if (found === 0) return;
  throw new RefusedError(
    mark
      ? `${target.address} got ${found} messages for ${module} after it had left: extract it from there once more to move them`
      : `${target.address} has a ${module} of its own, with ${found} rows`,
  );
}
