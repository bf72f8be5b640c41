import type { ClientBase } from 'pg';

/*
 * Leases in PostgreSQL. Partition keys fall into shards. A shard of a resource is leased to one replica at a time, with
 * a fencing token that grows whenever the shard changes hands. A replica that was paused for longer than its lease finds
 * another token in the database and changes nothing (Kleppmann, "How to do distributed locking", 2016).
 */

/** Shards of each resource. More replicas than this on one database find nothing to do. */
export const SHARDS = 32;

/** The shard of a row, as a PostgreSQL expression over its partition key. */
export const SHARD = `(hashtext(partition_key) & ${SHARDS - 1})`;

/** The resource of the messages that wait in the outbox. */
export const OUTBOX_RESOURCE = 'outbox';

/** The shards that this process holds, with their fencing tokens. Undefined where one process owns the database. */
export type HeldShards = ReadonlyMap<number, number> | undefined;

/**
 * The shards of a token list that this process still holds, as a PostgreSQL subquery. `FOR SHARE` makes a replica that
 * takes a shard over wait for this transaction; a takeover that committed first is seen.
 * @param resourceParameter position (`$n`) of the resource's name
 * @param tokensParameter position of `tokenParameter(…)`
 */
export function leaseFence(resourceParameter: number, tokensParameter: number): string {
  return `(SELECT shard FROM mesh_lease JOIN json_to_recordset($${tokensParameter}::json) AS known(s integer, t bigint)
           ON shard = s AND token = t WHERE part = $${resourceParameter} FOR SHARE OF mesh_lease)`;
}

/** Shards with their tokens, as a parameter for `leaseFence()`. */
export function tokenParameter(held: Iterable<readonly [number, number]>): string {
  return JSON.stringify([...held].map(([s, t]) => ({ s, t })));
}

/** Limits a query to the held shards, given as the `n`-th parameter; empty where all shards are held. */
export function inHeldShards(held: HeldShards, n: number): string {
  return held && held.size < SHARDS
    ? `AND ${SHARD} = ANY(ARRAY(SELECT json_array_elements_text($${n}::json)::integer))`
    : '';
}

/** The parameters of `inHeldShards()`. */
export function shardParameters(held: HeldShards): string[] {
  return held && held.size < SHARDS ? [JSON.stringify([...held.keys()])] : [];
}

export interface LeaseRow {
  readonly part: string;
  readonly shard: number;
  readonly token: string;
  readonly holder: number | null;
}

export interface ReplicaRow {
  readonly replica: number;
  readonly part: string;
  readonly is_alive: boolean;
}

/** `pg_locks.classid` of the advisory lock by which the session of a replica is known to live: the letters MESH. */
const LOCK_CLASS = 0x4d455348;

/** Twice the length of a lease: small steps of the clock free no shards. */
const MAX_EXPIRIES = 2;

type Client = Pick<ClientBase, 'query'>;

/**
 * Makes the lease rows that are missing: of resources that are new, or because they were deleted. Their tokens begin with
 * the time in ms, so that they are larger than those of deleted rows, which a replica may still use.
 */
export async function createLeases(client: Client, resources: readonly string[]): Promise<void> {
  await client.query(
    `INSERT INTO mesh_lease (part, shard, token) SELECT part, shard, extract(epoch FROM clock_timestamp()) * 1000
     FROM unnest($1::text[]) AS part, generate_series(0, $2 - 1) AS shard ON CONFLICT DO NOTHING`,
    [resources, SHARDS],
  );
}

/** Ties a replica to this session: other replicas see when the session ends. */
export async function lockReplica(client: Client, replica: number): Promise<void> {
  await client.query('SELECT pg_advisory_lock($1, $2)', [LOCK_CLASS, replica]);
}

/** Renews the leases of a replica for `leaseMs`, by the clock of the database. */
export async function renewReplica(
  client: Client,
  replica: number,
  resources: readonly string[],
  hasSession: boolean,
  leaseMs: number,
): Promise<void> {
  await client.query({
    name: 'mesh_renew',
    text: `INSERT INTO mesh_replica (replica, part, has_session, expires_at)
           SELECT $1, part, $3, clock_timestamp() + $4 * interval '1 millisecond' FROM unnest($2::text[]) AS part
           ON CONFLICT (replica, part) DO UPDATE SET expires_at = excluded.expires_at`,
    values: [replica, resources, hasSession, leaseMs],
  });
}

/**
 * All replicas of the database, and whether each still lives. An expiry that no heartbeat can have set by now is of the time
 * before the clock of the database was set back, and counts as past. A replica that lives renews it at its next heartbeat.
 */
export async function listReplicas(client: Client, leaseMs: number): Promise<ReplicaRow[]> {
  const { rows } = await client.query<ReplicaRow>({
    name: 'mesh_replicas',
    text: `SELECT replica, part, expires_at > clock_timestamp()
           AND expires_at < clock_timestamp() + $1 * interval '1 millisecond' AND (NOT has_session OR EXISTS (
             SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = ${LOCK_CLASS}
             AND objid = replica AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           )) AS is_alive FROM mesh_replica`,
    values: [MAX_EXPIRIES * leaseMs],
  });
  return rows;
}

export async function deleteReplicas(client: Client, replicas: readonly number[]): Promise<void> {
  await client.query('DELETE FROM mesh_replica WHERE replica = ANY($1)', [replicas]);
}

export async function listLeases(client: Client, resources: readonly string[]): Promise<LeaseRow[]> {
  const text = 'SELECT part, shard, token, holder FROM mesh_lease WHERE part = ANY($1) ORDER BY part, shard';
  return (await client.query<LeaseRow>({ name: 'mesh_leases', text, values: [resources] })).rows;
}

/**
 * Takes up to `count` shards whose holder is gone. Skips a locked one: a transaction of the former holder still uses it.
 * @returns how many were taken
 */
export async function takeLeases(client: Client, replica: number, resource: string, count: number): Promise<number> {
  const { rowCount } = await client.query(
    `UPDATE mesh_lease SET holder = $1, token = token + 1 WHERE part = $2 AND shard = ANY(ARRAY(
       SELECT shard FROM mesh_lease
       WHERE part = $2 AND (holder IS NULL OR holder NOT IN (SELECT replica FROM mesh_replica WHERE part = $2))
       ORDER BY shard LIMIT $3 FOR UPDATE SKIP LOCKED))`,
    [replica, resource, count],
  );
  return rowCount ?? 0;
}

/** Gives back up to `count` shards. Their new tokens fence off what is in flight in them. @returns how many */
export async function releaseLeases(client: Client, replica: number, resource: string, count: number): Promise<number> {
  const { rowCount } = await client.query(
    `UPDATE mesh_lease SET holder = NULL, token = token + 1 WHERE part = $2 AND shard = ANY(ARRAY(
       SELECT shard FROM mesh_lease WHERE part = $2 AND holder = $1 ORDER BY shard DESC LIMIT $3
       FOR UPDATE SKIP LOCKED))`,
    [replica, resource, count],
  );
  return rowCount ?? 0;
}

/** Gives all shards of a replica back and removes the replica. */
export async function releaseReplica(client: Client, replica: number): Promise<void> {
  await client.query('UPDATE mesh_lease SET holder = NULL, token = token + 1 WHERE holder = $1', [replica]);
  await deleteReplicas(client, [replica]);
}
