import { randomUUID } from 'node:crypto';
import type { Sql } from '../persistence/sql.js';

/** The reply to the first request with a key. */
export interface StoredReply {
  /** Digest of the request. */
  readonly fingerprint: string;
  /** The body as JSON. */
  readonly reply: string;
}

export async function findReply(sql: Sql, key: string): Promise<StoredReply | undefined> {
  const [stored] = await sql.all<StoredReply>(
    `SELECT fingerprint, reply FROM mesh_idempotency_key WHERE idempotency_key = $1`,
    [key],
  );
  return stored;
}

/** @returns false when the key is there already */
export async function insertKey(sql: Sql, key: string, fingerprint: string): Promise<boolean> {
  const inserted = await sql.run(
    `INSERT INTO mesh_idempotency_key (idempotency_key, fingerprint, reply, created_at) VALUES ($1, $2, '', $3)
     ON CONFLICT DO NOTHING`,
    [key, fingerprint, Date.now()],
  );
  return inserted > 0;
}

/** Writes something and takes it away, in the open unit of work: a COMMIT without changes proves nothing. */
export async function writeNothing(sql: Sql): Promise<void> {
  const key = randomUUID();
  await insertKey(sql, key, '');
  await sql.run('DELETE FROM mesh_idempotency_key WHERE idempotency_key = $1', [key]);
}

export async function storeReply(sql: Sql, key: string, reply: unknown): Promise<void> {
  await sql.run(`UPDATE mesh_idempotency_key SET reply = $2 WHERE idempotency_key = $1`, [
    key,
    JSON.stringify(reply ?? null),
  ]);
}
