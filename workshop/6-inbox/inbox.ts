import { AsyncLocalStorage } from 'node:async_hooks';
import type { EntityManager } from 'typeorm';

/** The id of the message that is being handled; AsyncLocalStorage carries it to the handler. */
const current = new AsyncLocalStorage<string>();

export const INBOX_TABLE = 'CREATE TABLE IF NOT EXISTS inbox (consumer text, id text, PRIMARY KEY (consumer, id))';

/** Runs the handler of a message, so that `isNew` knows the id of the message. */
export function handling<T>(id: string, handle: () => Promise<T>): Promise<T> {
  return current.run(id, handle);
}

/**
 * Records the message in the inbox. The record is written in the transaction of the handler's effects, so both are
 * committed or neither.
 * @returns false when this consumer has handled the message before
 */
export async function isNew(manager: EntityManager, consumer: string): Promise<boolean> {
  const record = 'INSERT INTO inbox (consumer, id) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id';
  const recorded = await manager.query<object[]>(record, [consumer, current.getStore()]);
  return recorded.length > 0;
}
