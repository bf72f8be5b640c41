import type { Sql } from '../persistence/sql.js';

/** How far the reconcile loop of a module has got. */
export interface ReconciliationRow {
  /** Position of the last item of the last page; null between two runs. */
  readonly position: string | null;
  /** The run as JSON. */
  readonly pass: string;
}

export async function findReconciliation(sql: Sql, module: string): Promise<ReconciliationRow | undefined> {
  const [row] = await sql.all<ReconciliationRow>('SELECT position, pass FROM mesh_reconciliation WHERE module = $1', [
    module,
  ]);
  return row;
}

export async function storeReconciliation(
  sql: Sql,
  module: string,
  run: object,
  position: string | null,
): Promise<void> {
  await sql.run(
    `INSERT INTO mesh_reconciliation (module, position, pass) VALUES ($1, $2, $3)
     ON CONFLICT (module) DO UPDATE SET position = excluded.position, pass = excluded.pass`,
    [module, position, JSON.stringify(run)],
  );
}
