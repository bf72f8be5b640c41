import type { Type } from '@nestjs/common';
import { meshFeatureOf } from './contracts/mesh-feature.js';
import type { MigrationHistory } from './persistence/migrate.js';
import { meshMigrations } from './store/migrations.js';

/** The histories of the mesh and of modules, in the order in which they are applied. */
export function migrationHistories(modules: readonly Type[]): MigrationHistory[] {
  const own = modules.map(meshFeatureOf).map(({ name, migrations = [] }) => ({ owner: name, migrations }));
  return [meshMigrations, ...own];
}
