import type { Sql, SqlValue } from '../persistence/sql.js';

/*
 * A query that reads hundreds of rows must not bring hundreds of megabytes: events may have one each. It reads small events with
 * their rows, and of large ones the size only, which both databases know without reading them.
 */

/** An event up to this size comes with its row, in bytes. */
const SMALL = 64 * 1024;

/** The columns `event`, NULL where it is large, and `size`, in bytes. */
export const SIZED_EVENT = `CASE WHEN octet_length(event) <= ${SMALL} THEN event END AS event, octet_length(event) AS size`;

/** A row with `SIZED_EVENT`. */
export interface SizedRow {
  readonly seq: SqlValue;
  readonly event: string | null;
  readonly size: number;
}

/**
 * The first rows that together have at most `maxBytes`, but at least one, each with its event.
 * @param isCut whether rows were left out because of their size
 */
export async function withEvents<Row extends SizedRow>(
  sql: Sql,
  table: 'mesh_outbox' | 'mesh_delivery',
  rows: readonly Row[],
  maxBytes: number,
): Promise<{ rows: (Row & { readonly event: string })[]; isCut: boolean }> {
  let bytes = 0;
  const end = rows.findIndex(({ size }, index) => (bytes += size) > maxBytes && index > 0);
  const taken: (Row & { readonly event: string })[] = [];
  for (const row of end < 0 ? rows : rows.slice(0, end)) {
    if (isWhole(row)) {
      taken.push(row);
      continue;
    }
    const event = await eventOf(sql, table, row.seq);
    // It has left meanwhile.
    if (event !== undefined) taken.push({ ...row, event });
  }
  return { rows: taken, isCut: end >= 0 };
}

function isWhole<Row extends SizedRow>(row: Row): row is Row & { readonly event: string } {
  return row.event !== null;
}

async function eventOf(sql: Sql, table: string, seq: SqlValue): Promise<string | undefined> {
  const [row] = await sql.all<{ event: string }>(`SELECT event FROM ${table} WHERE seq = $1`, [seq]);
  return row?.event;
}
