import { AsyncLocalStorage } from 'node:async_hooks';
import type { EntityManager } from 'typeorm';

/** The id of the message that is being handled. */
const current = new AsyncLocalStorage<string>();

export const INBOX_TABLE = 'CREATE TABLE IF NOT EXISTS inbox (consumer text, id text, PRIMARY KEY (consumer, id))';

/** Runs the handler of a message, which may then ask whether it has seen it before. */
export function handling<T>(id: string, handle: () => Promise<T>): Promise<T> {
  return current.run(id, handle);
}

/**
 * Whether this message has come to this consumer for the first time. The record that it has come is written in the
 * transaction of its effects: both are there, or neither.
 */
export async function isNew(manager: EntityManager, consumer: string): Promise<boolean> {
  const record = 'INSERT INTO inbox (consumer, id) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id';
  const recorded = (await manager.query(record, [consumer, current.getStore()])) as object[];
  return recorded.length > 0;
}
