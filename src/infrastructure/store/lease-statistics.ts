import type { Sql } from '../persistence/sql.js';

/** A process that shares the database, and how many shards of the deliveries it holds. */
export interface ReplicaShards {
  readonly id: string;
  /** The modules whose deliveries are shared. */
  readonly resource: string;
  readonly shards: number;
}

/** The processes that share this database; none on SQLite, which has one. */
export async function replicasOf(sql: Sql): Promise<ReplicaShards[]> {
  if (sql.dialect === 'sqlite') return [];
  const rows = await sql.all<{ id: string; resource: string; shards: number }>(
    `SELECT replica::text AS id, mesh_replica.part AS resource, COUNT(mesh_lease.shard)::integer AS shards
     FROM mesh_replica LEFT JOIN mesh_lease ON mesh_lease.part = mesh_replica.part AND holder = replica
     WHERE mesh_replica.part LIKE 'deliveries%' AND expires_at > clock_timestamp()
     GROUP BY replica, mesh_replica.part ORDER BY replica`,
  );
  return rows;
}
