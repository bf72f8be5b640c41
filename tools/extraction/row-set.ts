import { UNPUBLISHED } from '../../src/infrastructure/store/dead-letter-rows.js';
import { Refused, type Column, type ModuleRows, type Location, type Value } from './location.js';

/** Types that mean the same to both databases when they travel as text. */
const COMMON = /^(text|character varying(\(\d+\))?|uuid|json|smallint|integer|bigint|double precision|boolean)$/;

/** Replies to repeated requests, kept for 24 h: whose they are isn't written on them, so each place has them all. */
const IDEMPOTENCY_KEYS: ModuleRows = { table: 'mesh_idempotency_key', where: '1 = 1' };

/** Hears how many rows of a table were copied. */
export type OnCopied = (table: string, rows: number) => void;

/** What is a module's own in one database, and goes with it. */
export class RowSet {
  private constructor(
    readonly place: Location,
    /** Its tables, in the order in which they were made. */
    readonly tables: readonly string[],
    /** Its rows in the tables of the mesh. */
    private readonly meshRows: readonly ModuleRows[],
  ) {}

  static async of(module: string, sender: string, place: Location): Promise<RowSet> {
    const own = (await place.tables(`${module}_`)).filter((name) => name !== `${module}_migrations`);
    const mesh = await place.tables('mesh_');
    const source = place.dialect === 'postgres' ? `event::json->>'source'` : `event->>'source'`;
    const parcels: ModuleRows[] = [
      { table: 'mesh_inbox', where: `consumer = '${module}'` },
      { table: 'mesh_delivery', where: `consumer = '${module}'`, order: 'seq', regenerated: 'seq' },
      // What it hasn't got rid of yet is its own, too: nobody may be left here to send it.
      {
        table: 'mesh_dead_letter',
        where: `(consumer = '${module}' OR (consumer = '${UNPUBLISHED}' AND ${source} = '${sender}'))`,
      },
      { table: 'mesh_outbox', where: `source = '${sender}'`, order: 'seq', regenerated: 'seq' },
    ];
    const isThere = ({ table }: ModuleRows) => mesh.includes(table);
    return new RowSet(place, own, parcels.filter(isThere));
  }

  /** All rows. */
  async count(): Promise<number> {
    let rows = 0;
    for (const parcel of this.all) rows += await this.rowsOf(parcel);
    return rows;
  }

  /** Removes all rows, or those in the tables of the mesh only. */
  async clear(what: 'all' | 'mesh' = 'all'): Promise<void> {
    const parcels = what === 'mesh' ? this.meshRows : this.all.reverse();
    for (const { table, where } of parcels) await this.place.run(`DELETE FROM ${table} WHERE ${where}`);
  }

  /**
   * Copies all rows to where there are none, in the open transactions of both places.
   * @param at called while rows are on their way
   * @throws Refused when a column can't be carried, Error when not as many rows arrive as were sent
   */
  async copyAll(other: RowSet, tally: OnCopied, at: () => void): Promise<void> {
    for (const parcel of this.all) {
      const sent = await this.copy(parcel, other.place, async () => at());
      const arrived = await other.rowsOf(other.all.find(({ table }) => table === parcel.table)!);
      if (arrived !== sent) throw new Error(`${parcel.table}: ${sent} rows were sent and ${arrived} arrived`);
      tally(parcel.table, sent);
    }
    for (const table of this.tables) await other.place.continueNumbers(table, this.place);
    tally(IDEMPOTENCY_KEYS.table, await this.copy(IDEMPOTENCY_KEYS, other.place));
  }

  /** Copies what is in the tables of the mesh to where some of it may be already, from an earlier try. */
  async copyLateRows(other: RowSet, tally: OnCopied): Promise<void> {
    for (const parcel of this.meshRows) {
      const { table, regenerated } = parcel;
      const sent = await this.copy(parcel, other.place, async (columns, rows) => {
        // The rest has keys by which it is recognised; these get their numbers anew.
        if (!regenerated) return;
        const names = columns.map(({ name }) => name);
        const key = ['consumer', 'id', 'event'].filter((name) => names.includes(name));
        const isSame = key.map((name, n) => `${name} = $${n + 1}`).join(' AND ');
        for (const row of rows) {
          const values = key.map((name) => String(row[names.indexOf(name)]));
          await other.place.run(`DELETE FROM ${table} WHERE ${isSame}`, values);
        }
      });
      if (sent > 0) tally(table, sent);
    }
  }

  private get all(): ModuleRows[] {
    return [...this.tables.map((table) => ({ table, where: '1 = 1' })), ...this.meshRows];
  }

  private async rowsOf({ table, where }: ModuleRows): Promise<number> {
    const [row] = await this.place.all<{ n: string }>(`SELECT COUNT(*) AS n FROM ${table} WHERE ${where}`);
    return Number(row!.n);
  }

  /** @returns how many rows were sent */
  private async copy(
    parcel: ModuleRows,
    to: Location,
    before: (columns: readonly Column[], rows: readonly Value[][]) => Promise<void> = async () => undefined,
  ): Promise<number> {
    const { table, regenerated } = parcel;
    const read = (await this.place.columns(table)).filter(({ name }) => name !== regenerated);
    const there = await to.columns(table);
    const written = read.map(({ name }) => there.find((it) => it.name === name));
    for (const [index, { name }] of read.entries()) {
      const column = written[index];
      if (!column) throw new Refused(`${to.address}: ${table} has no column ${name}`);
      const types = this.place.dialect === to.dialect ? [] : [read[index]!.type, column.type];
      const strange = types.find((type) => !COMMON.test(type.toLowerCase()));
      if (strange)
        throw new Refused(
          `${table}.${name} is ${strange}: this can't be carried from one kind of database to the other`,
        );
    }
    let sent = 0;
    for await (const rows of this.place.batches(parcel, read)) {
      await before(read, rows);
      await to.insert(table, written as Column[], rows);
      sent += rows.length;
    }
    return sent;
  }
}
