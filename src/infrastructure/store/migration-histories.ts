import type { Type } from '@nestjs/common';
import { meshFeatureOf } from '../contracts/mesh-feature.js';
import type { MigrationHistory } from '../persistence/migrate.js';
import { MeshTables1763900000000 } from './migrations/1763900000000-create-tables.js';
import { MeshDestinations1764000000000 } from './migrations/1764000000000-add-destinations.js';
import { MeshReconciliation1764000000000 } from './migrations/1764000000000-add-reconciliation.js';
import { MeshLeases1764000000001 } from './migrations/1764000000001-add-leases.js';
import { MeshJournal1764300000000 } from './migrations/1764300000000-add-journal.js';

/** The mesh's own migrations. The order of the list counts: two of them have the same timestamp. */
export const meshMigrations: MigrationHistory = {
  owner: 'mesh',
  migrations: [
    MeshTables1763900000000,
    MeshDestinations1764000000000,
    MeshReconciliation1764000000000,
    MeshLeases1764000000001,
    MeshJournal1764300000000,
  ],
};

/**
 * The histories that one process applies: the mesh's own, then that of each hosted module.
 * @param histories of the application; those of modules that this process doesn't host are left out
 */
export function migrationHistories(
  hosted: readonly Type[],
  histories: readonly MigrationHistory[] = [],
): MigrationHistory[] {
  const own = hosted.map((module): MigrationHistory => {
    const { name } = meshFeatureOf(module);
    return histories.find(({ owner }) => owner === name) ?? { owner: name, migrations: [] };
  });
  return [meshMigrations, ...own];
}

/** @throws Error when a history has no module of its name, or the same owner as another history */
export function assertOwners(modules: readonly Type[], histories: readonly MigrationHistory[] = []): void {
  const names = modules.map((it) => meshFeatureOf(it).name);
  const seen = new Set<string>();
  for (const { owner } of histories) {
    if (!names.includes(owner)) {
      throw new Error(`The option migrations has a history of ${owner}, but the modules are ${names.join(', ')}`);
    }
    if (seen.has(owner)) throw new Error(`The option migrations has two histories of ${owner}: make them one`);
    seen.add(owner);
  }
}

/**
 * For an application that creates all its tables by histories.
 * @throws Error when a module has entities and no history
 */
export function assertHistoriesComplete(modules: readonly Type[], histories: readonly MigrationHistory[]): void {
  for (const { name, entities = [] } of modules.map(meshFeatureOf)) {
    if (entities.length > 0 && !histories.some(({ owner }) => owner === name)) {
      throw new Error(`The module ${name} has entities but no migrations: add its history to the list of histories`);
    }
  }
}
