import type { DataSource, QueryRunner } from 'typeorm';

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
    return await movingOn(runner);
  } finally {
    await runner.release();
  }
}

async function movingOn(runner: QueryRunner): Promise<Moving[]> {
  if (!(await runner.hasTable('mesh_module'))) return [];
  return (await runner.query('SELECT name, state, place FROM mesh_module')) as Moving[];
}

/**
 * Runs before the migrations: they would create the tables of a module that has moved, empty.
 * @throws Error when one of the modules has moved away, or is not copied completely yet
 */
export async function assertAtHome(on: DataSource | QueryRunner, modules: readonly string[]): Promise<void> {
  const moving = await ('createQueryRunner' in on ? movingModules(on) : movingOn(on));
  for (const { name, state, place } of moving) {
    if (!modules.includes(name)) continue;
    throw new Error(
      state === 'moved'
        ? `${name} has moved to ${place}: host it in a process on that database, or leave it out of the option hosted here`
        : `${name} is still on its way into this database from ${place}: finish its extraction first (npm run extract)`,
    );
  }
}
