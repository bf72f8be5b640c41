import { UNPUBLISHED } from '../../src/infrastructure/store/dead-letter-rows.js';
import { RefusedError } from '../errors.js';
import type { Column, Location, ModuleRows, Value } from './location.js';

/** Column types whose values mean the same in both databases when they are copied as text. */
const COMMON = /^(text|character varying(\(\d+\))?|uuid|json|smallint|integer|bigint|double precision|boolean)$/;

/** Replies for repeated requests, kept for 24 h. They don't name a module, so both databases keep all of them. */
const IDEMPOTENCY_KEYS: ModuleRows = { table: 'mesh_idempotency_key', where: '1 = 1' };

/** Called with the number of copied rows of a table. */
export type OnCopied = (table: string, rows: number) => void;

/** All rows of a module in one database. */
export class RowSet {
  private constructor(
    readonly location: Location,
    /** The module's own tables, in the order of their creation. */
    readonly tables: readonly string[],
    /** The module's rows in the tables of the mesh. */
    private readonly meshRows: readonly ModuleRows[],
  ) {}

  static async of(module: string, sender: string, location: Location): Promise<RowSet> {
    const own = (await location.tables(`${module}_`)).filter((name) => name !== `${module}_migrations`);
    const mesh = await location.tables('mesh_');
    const source = location.dialect === 'postgres' ? `event::json->>'source'` : `event->>'source'`;
    // Unpublished messages move as well: after the move no process here may be left to send them.
    const effects = `substr(consumer, 1, ${module.length + 1}) = '${module}/'`;
    const handled = `(consumer = '${module}' OR ${effects})`;
    const received = `(${handled} OR (consumer = '${UNPUBLISHED}' AND ${source} = '${sender}'))`;
    const meshRows: ModuleRows[] = [
      { table: 'mesh_inbox', where: `consumer = '${module}'` },
      { table: 'mesh_delivery', where: received, order: 'seq', regenerated: 'seq' },
      { table: 'mesh_dead_letter', where: received },
      { table: 'mesh_journal', where: handled, order: 'seq', regenerated: 'seq' },
      { table: 'mesh_outbox', where: `source = '${sender}'`, order: 'seq', regenerated: 'seq' },
    ];
    const isThere = ({ table }: ModuleRows) => mesh.includes(table);
    return new RowSet(location, own, meshRows.filter(isThere));
  }

  /** Counts all rows. */
  async count(): Promise<number> {
    let rows = 0;
    for (const moduleRows of this.all) rows += await this.rowsOf(moduleRows);
    return rows;
  }

  /** Deletes all rows, or only those in the tables of the mesh. */
  async clear(what: 'all' | 'mesh' = 'all'): Promise<void> {
    const toDelete = what === 'mesh' ? this.meshRows : this.all.reverse();
    for (const { table, where } of toDelete) await this.location.run(`DELETE FROM ${table} WHERE ${where}`);
  }

  /**
   * Copies all rows to an empty row set, in the open transactions of both databases.
   * @param onBatch called for each batch of rows
   * @throws RefusedError when a column can't be copied, Error when a different number of rows arrives
   */
  async copyAll(other: RowSet, onCopied: OnCopied, onBatch: () => void): Promise<void> {
    for (const moduleRows of this.all) {
      const sent = await this.copy(moduleRows, other.location, async () => onBatch());
      const arrived = await other.rowsOf(other.all.find(({ table }) => table === moduleRows.table)!);
      if (arrived !== sent) throw new Error(`${moduleRows.table}: ${sent} rows were copied, but ${arrived} arrived`);
      onCopied(moduleRows.table, sent);
    }
    for (const table of this.tables) await other.location.continueNumbers(table, this.location);
    onCopied(IDEMPOTENCY_KEYS.table, await this.copy(IDEMPOTENCY_KEYS, other.location));
  }

  /** Copies the rows in the tables of the mesh; some may have been copied by an interrupted extraction. */
  async copyLateRows(other: RowSet, onCopied: OnCopied): Promise<void> {
    for (const moduleRows of this.meshRows) {
      const { table, regenerated } = moduleRows;
      const sent = await this.copy(moduleRows, other.location, async (columns, rows) => {
        // Other tables have keys that prevent duplicates. Here `seq` is new, so delete an earlier copy first.
        if (!regenerated) return;
        const names = columns.map(({ name }) => name);
        const key = ['consumer', 'id', 'event'].filter((name) => names.includes(name));
        const isSame = key.map((name, n) => `${name} = $${n + 1}`).join(' AND ');
        for (const row of rows) {
          const values = key.map((name) => String(row[names.indexOf(name)]));
          await other.location.run(`DELETE FROM ${table} WHERE ${isSame}`, values);
        }
      });
      if (sent > 0) onCopied(table, sent);
    }
  }

  private get all(): ModuleRows[] {
    return [...this.tables.map((table) => ({ table, where: '1 = 1' })), ...this.meshRows];
  }

  private async rowsOf({ table, where }: ModuleRows): Promise<number> {
    const [row] = await this.location.all<{ n: string }>(`SELECT COUNT(*) AS n FROM ${table} WHERE ${where}`);
    return Number(row!.n);
  }

  /** @returns the number of copied rows */
  private async copy(
    moduleRows: ModuleRows,
    to: Location,
    before: (columns: readonly Column[], rows: readonly Value[][]) => Promise<void> = async () => undefined,
  ): Promise<number> {
    const { table, regenerated } = moduleRows;
    const read = (await this.location.columns(table)).filter(({ name }) => name !== regenerated);
    const targetColumns = await to.columns(table);
    const written = read.map(({ name }) => targetColumns.find((it) => it.name === name));
    for (const [index, { name }] of read.entries()) {
      const column = written[index];
      if (!column) throw new RefusedError(`${to.address}: ${table} has no column ${name}`);
      const types = this.location.dialect === to.dialect ? [] : [read[index]!.type, column.type];
      const unsupported = types.find((type) => !COMMON.test(type.toLowerCase()));
      if (unsupported)
        throw new RefusedError(
          `${table}.${name} has the type ${unsupported}, which can't be copied from one kind of database to the other`,
        );
    }
    let sent = 0;
    for await (const rows of this.location.batches(moduleRows, read)) {
      await before(read, rows);
      await to.insert(table, written as Column[], rows);
      sent += rows.length;
    }
    return sent;
  }
}
