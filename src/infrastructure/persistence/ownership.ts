import type { DataSource } from 'typeorm';

/**
 * A module that was extracted from this database (`moved`), or that is being copied into it (`arriving`). `place` is the
 * other database. A module that this database serves has no such row.
 */
export interface Moving {
  readonly name: string;
  readonly state: 'moved' | 'arriving';
  readonly place: string;
}

/** The rows of `mesh_module`. */
export async function movingModules(dataSource: DataSource): Promise<Moving[]> {
  const runner = dataSource.createQueryRunner();
  try {
    if (!(await runner.hasTable('mesh_module'))) return [];
    return (await runner.query('SELECT name, state, place FROM mesh_module')) as Moving[];
  } finally {
    await runner.release();
  }
}

/**
 * Runs before the migrations: they would create the tables of a module that has moved, empty.
 * @throws Error when one of the modules has moved away, or is not copied completely yet
 */
export async function assertAtHome(dataSource: DataSource, modules: readonly string[]): Promise<void> {
  for (const { name, state, place } of await movingModules(dataSource)) {
    if (!modules.includes(name)) continue;
    throw new Error(
      state === 'moved'
        ? `${name} has moved to ${place}: host it in a process on that database, or take it out of MODULES here`
        : `${name} is still on its way into this database from ${place}: finish its extraction first (npm run extract)`,
    );
  }
}
