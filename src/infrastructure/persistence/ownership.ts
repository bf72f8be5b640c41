import type { DataSource } from 'typeorm';

/**
 * Where a module is in the middle of moving house: `moved` in the database that it has left (`place` says where to),
 * `arriving` in one that hasn't got all of it yet. A module that is at home has no such row.
 */
export interface Moving {
  readonly name: string;
  readonly state: 'moved' | 'arriving';
  readonly place: string;
}

/** The modules that a database has a mark of. */
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
 * Before anything else is done for them, migrations included: a table made anew would look like a module without a past.
 * @throws Error when one of the modules lives elsewhere, or hasn't arrived yet
 */
export async function assertAtHome(dataSource: DataSource, modules: readonly string[]): Promise<void> {
  for (const { name, state, place } of await movingModules(dataSource)) {
    if (!modules.includes(name)) continue;
    throw new Error(
      state === 'moved'
        ? `${name} has moved to ${place}: a process on this database can't host it any more`
        : `${name} is still on its way into this database from ${place}: finish its extraction first`,
    );
  }
}
