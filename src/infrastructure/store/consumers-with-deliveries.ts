import type { Sql } from '../persistence/sql.js';

/** The consumers that have deliveries: one index lookup per name, however many rows there are. */
export async function consumersWithDeliveries(sql: Sql): Promise<string[]> {
  const found = new Set<string>();
  for (const which of ['attempts = 0', 'attempts > 0']) {
    const rows = await sql.all<{ consumer: string }>(
      `WITH RECURSIVE names AS (
         SELECT MIN(consumer) AS consumer FROM mesh_delivery WHERE ${which}
         UNION ALL
         SELECT (SELECT MIN(consumer) FROM mesh_delivery WHERE ${which} AND consumer > names.consumer)
         FROM names WHERE names.consumer IS NOT NULL
       ) SELECT consumer FROM names WHERE consumer IS NOT NULL`,
    );
    for (const { consumer } of rows) found.add(consumer);
  }
  return [...found];
}
