import { existsSync } from 'node:fs';
import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { meshMigrations } from '../../src/infrastructure/store/migrations.js';
import type { Moving } from '../../src/infrastructure/persistence/ownership.js';
import { RowSet } from './row-set.js';
import { addressOf, fileOf, openLocation } from './open-location.js';
import { Refused, type Location } from './location.js';

export interface Move {
  /** The module, with all of its migrations. */
  readonly history: MigrationHistory;
  /** Stands as the source in the messages that the module sends. */
  readonly sender: string;
  /** Where it lives and where it is to live, as in DATABASE_URL. */
  readonly from: string;
  readonly to: string;
  /** Hears of each step, in a line. */
  readonly log?: (line: string) => void;
  /** Called between steps, and in the middle of them, for tests: a process can end anywhere. */
  readonly onPoint?: (point: Point) => void;
}

export const POINTS = ['locked', 'prepared', 'announced', 'copying', 'copied', 'kept', 'leaving', 'left'] as const;
export type Point = (typeof POINTS)[number];

/**
 * Moves a module from one database to another. Whatever was interrupted, and wherever: called again it goes on from
 * there, by the marks in `mesh_module`. Up to `left` the module is at home where it was, from then on at the new place;
 * in between no process may host it, and there is no moment at which both may.
 * @throws Refused when one of the databases is in use, or it isn't the module's to leave or to enter
 * @returns who lives where now
 */
export async function extract(move: Move): Promise<{ from: DatabaseContents; to: DatabaseContents }> {
  const [from, to] = [addressOf(move.from), addressOf(move.to)];
  if (from === to) throw new Refused(`${to} is where ${move.history.owner} leaves`);
  const file = fileOf(move.from);
  if (file !== undefined && !existsSync(file)) throw new Refused(`There is no ${file}: is DATABASE_URL right?`);
  const source = await openLocation(move.from);
  try {
    await source.begin();
    const extraction = new Extraction(move, source);
    const hasLeft = await extraction.lockSource();
    const target = await openLocation(move.to);
    try {
      if ((await source.identity()) === (await target.identity())) {
        throw new Refused(`${to} is where ${move.history.owner} leaves, by another name`);
      }
      await (hasLeft === undefined ? extraction.moveTo(target) : extraction.finish(target, hasLeft));
      return { from: await contentsOf(source), to: await contentsOf(target) };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/** A database, and the modules that are at home there. */
export interface DatabaseContents {
  readonly address: string;
  readonly modules: readonly string[];
}

async function contentsOf(place: Location): Promise<DatabaseContents> {
  const marked = (await place.all<Moving>('SELECT name FROM mesh_module')).map(({ name }) => name);
  const owners = (await place.tables('')).flatMap((table) => /^(.+)_migrations$/.exec(table)?.[1] ?? []);
  return { address: place.address, modules: owners.filter((it) => it !== 'mesh' && !marked.includes(it)) };
}

class Extraction {
  private readonly module: string;
  private readonly log: (line: string) => void;
  private readonly onPoint: (point: Point) => void;

  constructor(
    private readonly move: Move,
    private readonly source: Location,
  ) {
    this.module = move.history.owner;
    this.log = move.log ?? (() => undefined);
    this.onPoint = move.onPoint ?? (() => undefined);
  }

  /** From here on nobody else writes the source. @returns where to the module has left it before, if it has */
  async lockSource(): Promise<string | undefined> {
    const { module, source } = this;
    const tables = [...(await source.tables('mesh_')), ...(await source.tables(`${module}_`))];
    await source.lock(tables);
    await this.assertMigrated(source, meshMigrations);
    const mark = await this.markAt(source);
    if (mark?.state === 'arriving') {
      throw new Refused(`${module} is still on its way into ${source.address} from ${mark.place}: finish that first`);
    }
    if (mark?.state === 'moved') return mark.place;
    await this.assertMigrated(source, this.move.history);
    this.log(`${source.address}: locked, nobody else is there`);
    this.onPoint('locked');
    return undefined;
  }

  async moveTo(target: Location): Promise<void> {
    const { module, source } = this;
    await target.begin();
    await target.lock([]);
    await this.assertRoom(target);
    await target.commit();
    const applied = await target.migrate([meshMigrations, this.move.history]);
    await this.assertMigrated(target, this.move.history);
    this.log(`${target.address}: ${applied.length > 0 ? `migrated (${applied.join(', ')})` : 'has its tables'}`);
    this.onPoint('prepared');

    await target.begin();
    // Whoever starts there now waits for this lock before he believes himself at home, and reads 'arriving' then.
    await target.lock(['mesh_module']);
    await this.assertRoom(target);
    await this.mark(target, 'arriving', source.address);
    await target.commit();
    this.log(`${target.address}: ${module} is announced; no process may host it yet`);
    this.onPoint('announced');

    const undefined = await this.rowsAt(source);
    await target.begin();
    const arrived = await this.rowsAt(target);
    await arrived.clear(); // what an earlier try has brought, since which life has gone on
    await undefined.copyAll(
      arrived,
      (table, rows) => this.log(`  ${table}: ${rows}`),
      () => this.onPoint('copying'),
    );
    this.onPoint('copied');
    await target.commit();
    this.log(`${target.address}: has all of it`);
    this.onPoint('kept');

    await this.mark(source, 'moved', target.address);
    await undefined.clear();
    for (const table of [...undefined.tables].reverse()) await source.run(`DROP TABLE ${table}`);
    await source.run(`DROP TABLE ${module}_migrations`);
    this.onPoint('leaving');
    await source.commit();
    this.log(`${source.address}: ${module} has moved out; no process may host it any more`);
    this.onPoint('left');
    await this.arrive(target);
  }

  /** The source is left already. What came there for the module since, against the rules, goes after it. */
  async finish(target: Location, leftTo: string): Promise<void> {
    const { module, source } = this;
    if (leftTo !== target.address) throw new Refused(`${module} has moved to ${leftTo} already`);
    await target.begin();
    await target.lock(await target.tables('mesh_'));
    const mark = await this.markAt(target);
    const isThere = mark?.state === 'moved' || (await this.migrationsAt(target, module)).length > 0;
    if (!isThere || (mark?.state === 'arriving' && mark.place !== source.address)) {
      throw new Refused(`${module} has moved to ${target.address}, but isn't there: is that the right database?`);
    }
    this.log(`${source.address}: ${module} has moved out before`);
    const cargo = await this.rowsAt(source);
    await cargo.copyLateRows(await this.rowsAt(target), (table, rows) => this.log(`  ${table}: ${rows} came late`));
    await target.commit();
    await cargo.clear('mesh');
    await source.commit();
    if (mark?.state !== 'moved') await this.arrive(target);
  }

  private async arrive(target: Location): Promise<void> {
    await target.run(`DELETE FROM mesh_module WHERE name = $1 AND state = 'arriving'`, [this.module]);
    this.log(`${target.address}: ${this.module} is at home`);
  }

  /** @throws Refused when the module could meet another life of itself there */
  private async assertRoom(target: Location): Promise<void> {
    const { module, source } = this;
    const mark = await this.markAt(target);
    if (mark?.state === 'arriving') {
      if (mark.place === source.address) return; // an earlier try of this move
      throw new Refused(`${module} is on its way into ${target.address} from ${mark.place}: finish that first`);
    }
    if (mark && mark.place !== source.address) {
      throw new Refused(
        `${module} has moved from ${target.address} to ${mark.place}, and can come back from there only. Has that one ` +
          `another address by now? UPDATE mesh_module SET place = '${source.address}' WHERE name = '${module}'`,
      );
    }
    const rows = await (await this.rowsAt(target)).count();
    if (rows === 0) return;
    throw new Refused(
      mark
        ? `${target.address} got ${rows} messages for ${module} after it had left: extract it from there once more, they follow`
        : `${target.address} has a ${module} of its own, with ${rows} rows`,
    );
  }

  /** @throws Refused when other migrations were applied there than this code knows */
  private async assertMigrated(place: Location, { owner, migrations }: MigrationHistory): Promise<void> {
    const applied = await this.migrationsAt(place, owner);
    const known = migrations.map(({ name }) => name);
    const missing = known.filter((name) => !applied.includes(name));
    const strange = applied.filter((name) => !known.includes(name));
    if (missing.length > 0) {
      throw new Refused(
        `${place.address} lacks migrations of ${owner}; apply them first (npm run migrate): ${missing.join(', ')}`,
      );
    }
    if (strange.length > 0) {
      throw new Refused(
        `${place.address} has migrations of ${owner} that this version doesn't know: ${strange.join(', ')}`,
      );
    }
  }

  private rowsAt(place: Location): Promise<RowSet> {
    return RowSet.of(this.module, this.move.sender, place);
  }

  private async migrationsAt(place: Location, owner: string): Promise<string[]> {
    if (!(await place.tables(`${owner}_migrations`)).includes(`${owner}_migrations`)) return [];
    return (await place.all<{ name: string }>(`SELECT name FROM ${owner}_migrations`)).map(({ name }) => name);
  }

  private async markAt(place: Location): Promise<Moving | undefined> {
    if (!(await place.tables('mesh_module')).includes('mesh_module')) return undefined;
    return (await place.all<Moving>('SELECT name, state, place FROM mesh_module WHERE name = $1', [this.module]))[0];
  }

  private async mark(at: Location, state: Moving['state'], place: string): Promise<void> {
    await at.run(
      `INSERT INTO mesh_module (name, state, place, since) VALUES ($1, $2, $3, $4)
       ON CONFLICT (name) DO UPDATE SET state = excluded.state, place = excluded.place, since = excluded.since`,
      [this.module, state, place, Date.now()],
    );
  }
}
