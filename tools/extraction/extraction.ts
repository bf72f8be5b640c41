import { existsSync } from 'node:fs';
import type { Moving } from '../../src/infrastructure/persistence/ownership.js';
import { RefusedError } from '../errors.js';
import type { Location } from './location.js';
import { Extraction, type Move } from './move.js';
import { addressOf, fileOf, openLocation } from './open-location.js';

/** A database, and the modules that it hosts. */
export interface DatabaseContents {
  readonly address: string;
  readonly modules: readonly string[];
}

/**
 * Moves a module from one database to another. After an interruption at any point, call it again: it continues by the
 * marks in `mesh_module`. The old database hosts the module up to the point `left`, the new one from then on. In between
 * no process may host the module, and at no time may processes on both databases host it.
 * @throws RefusedError when a database is in use, or when the module can't leave the one or enter the other
 * @returns the modules of both databases after the move
 */
export async function extract(move: Move): Promise<{ from: DatabaseContents; to: DatabaseContents }> {
  const [from, to] = [addressOf(move.from), addressOf(move.to)];
  const { owner } = move.history;
  if (from === to) throw new RefusedError(`${to} is the database that ${owner} leaves`);
  const file = fileOf(move.from);
  if (file !== undefined && !existsSync(file)) throw new RefusedError(`There is no ${file}: is DATABASE_URL right?`);
  const source = await openLocation(move.from);
  try {
    await source.begin();
    const extraction = new Extraction(move, source);
    const movedTo = await extraction.lockSource();
    const target = await openLocation(move.to);
    try {
      if ((await source.identity()) === (await target.identity())) {
        throw new RefusedError(`${to} is another name of the database that ${owner} leaves`);
      }
      await (movedTo === undefined ? extraction.moveTo(target) : extraction.finish(target, movedTo));
      return { from: await contentsOf(source), to: await contentsOf(target) };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function contentsOf(location: Location): Promise<DatabaseContents> {
  const moving = (await location.all<Moving>('SELECT name FROM mesh_module')).map(({ name }) => name);
  const owners = (await location.tables('')).flatMap((table) => /^(.+)_migrations$/.exec(table)?.[1] ?? []);
  return { address: location.address, modules: owners.filter((it) => it !== 'mesh' && !moving.includes(it)) };
}
