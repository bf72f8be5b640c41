import type { MigrationHistory } from '../../src/infrastructure/persistence/migrate.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { RefusedError } from '../errors.js';
import type { Location } from './location.js';
import { assertCanEnter, assertMigrated, markOf, migrationsOf, setMark } from './preconditions.js';
import { RowSet } from './row-set.js';

export interface Move {
  /** The module, with all of its migrations. */
  readonly history: MigrationHistory;
  /** The `source` attribute of the messages that the module sends. */
  readonly sender: string;
  /** The current database of the module, as in DATABASE_URL. */
  readonly from: string;
  /** The new database of the module, as in DATABASE_URL. */
  readonly to: string;
  /** Called with a line of text after each step. */
  readonly log?: (line: string) => void;
  /** Called at points where a process may be interrupted, for tests. */
  readonly onPoint?: (point: Point) => void;
}

export const POINTS = ['locked', 'prepared', 'announced', 'copying', 'copied', 'kept', 'leaving', 'left'] as const;
export type Point = (typeof POINTS)[number];

/**
 * The steps of a move. Each step ends with a commit, and the marks in `mesh_module` show how far an interrupted move got.
 */
export class Extraction {
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

  /** Locks the source until the end. @returns the address to which the module has moved already, if it has */
  async lockSource(): Promise<string | undefined> {
    const { module, source } = this;
    const tables = [...(await source.tables('mesh_')), ...(await source.tables(`${module}_`))];
    await source.lock(tables);
    await assertMigrated(source, meshMigrations);
    const mark = await markOf(module, source);
    if (mark?.state === 'arriving') {
      throw new RefusedError(
        `${module} is still on its way into ${source.address} from ${mark.place}: finish that move first`,
      );
    }
    if (mark?.state === 'moved') return mark.place;
    await assertMigrated(source, this.move.history);
    this.log(`${source.address}: locked; no other process uses it`);
    this.onPoint('locked');
    return undefined;
  }

  async moveTo(target: Location): Promise<void> {
    await this.prepare(target);
    await this.announce(target);
    const rows = await this.copyRows(target);
    await this.leave(target, rows);
    await this.arrive(target);
  }

  /** Completes a move whose source has been left already. Messages that the source got since are moved, too. */
  async finish(target: Location, movedTo: string): Promise<void> {
    const { module, source } = this;
    if (movedTo !== target.address) throw new RefusedError(`${module} has moved to ${movedTo} already`);
    await target.begin();
    await target.lock(await target.tables('mesh_'));
    const mark = await markOf(module, target);
    const hasModule = mark?.state === 'moved' || (await migrationsOf(module, target)).length > 0;
    if (!hasModule || (mark?.state === 'arriving' && mark.place !== source.address)) {
      throw new RefusedError(`${module} has moved to ${target.address}, but isn't there: is that the right database?`);
    }
    this.log(`${source.address}: ${module} has moved already`);
    const rows = await this.rowsAt(source);
    await rows.copyLateRows(await this.rowsAt(target), (table, n) => this.log(`  ${table}: ${n} late rows`));
    await target.commit();
    await rows.clear('mesh');
    await source.commit();
    if (mark?.state !== 'moved') await this.arrive(target);
  }

  /** Creates the tables in the target. */
  private async prepare(target: Location): Promise<void> {
    await target.begin();
    await target.lock([]);
    await this.assertCanEnter(target);
    await target.commit();
    const applied = await target.migrate([meshMigrations, this.move.history]);
    await assertMigrated(target, this.move.history);
    this.log(`${target.address}: ${applied.length > 0 ? `migrated (${applied.join(', ')})` : 'has its tables'}`);
    this.onPoint('prepared');
  }

  /** Marks the module as arriving in the target, so that no process hosts it there yet. */
  private async announce(target: Location): Promise<void> {
    const { module, source } = this;
    await target.begin();
    // A process that starts now waits for this lock, then reads 'arriving', and does not host the module.
    await target.lock(['mesh_module']);
    await this.assertCanEnter(target);
    await setMark(module, target, 'arriving', source.address);
    await target.commit();
    this.log(`${target.address}: ${module} is announced; no process may host it yet`);
    this.onPoint('announced');
  }

  /** @returns the rows of the source */
  private async copyRows(target: Location): Promise<RowSet> {
    const rows = await this.rowsAt(this.source);
    await target.begin();
    const arrived = await this.rowsAt(target);
    await arrived.clear(); // rows of an interrupted extraction are out of date
    await rows.copyAll(
      arrived,
      (table, n) => this.log(`  ${table}: ${n}`),
      () => this.onPoint('copying'),
    );
    this.onPoint('copied');
    await target.commit();
    this.log(`${target.address}: all rows are copied`);
    this.onPoint('kept');
    return rows;
  }

  /** Marks the module as moved in the source, and removes its rows and tables. */
  private async leave(target: Location, rows: RowSet): Promise<void> {
    const { module, source } = this;
    await setMark(module, source, 'moved', target.address);
    await rows.clear();
    for (const table of [...rows.tables].reverse()) await source.run(`DROP TABLE ${table}`);
    await source.run(`DROP TABLE ${module}_migrations`);
    this.onPoint('leaving');
    await source.commit();
    this.log(`${source.address}: ${module} has moved; no process may host it here any more`);
    this.onPoint('left');
  }

  private async arrive(target: Location): Promise<void> {
    await target.run(`DELETE FROM mesh_module WHERE name = $1 AND state = 'arriving'`, [this.module]);
    this.log(`${target.address}: hosts ${this.module} from now on`);
  }

  private async assertCanEnter(target: Location): Promise<void> {
    await assertCanEnter(this.module, this.source, target, async () => (await this.rowsAt(target)).count());
  }

  private rowsAt(location: Location): Promise<RowSet> {
    return RowSet.of(this.module, this.move.sender, location);
  }
}
