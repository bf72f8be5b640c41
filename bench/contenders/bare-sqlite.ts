import { BetterSqlite3 } from '../../tools/better-sqlite3.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { fillMesh } from '../backlog.js';
import { openNotes } from '../notes.js';
import { pathOf, rate, type Contenders } from './contender.js';

/** Batch sizes of the mesh: messages per lookup and commit, and per savepoint. */
export const [GROUP, SAVEPOINT] = [128, 64];

export const contenders: Contenders = { 'one-by-one': settleByStatements };

/**
 * Runs the statements of the mesh in the same order and batches, prepared, on one connection of better-sqlite3, without
 * the statements that the mesh runs once a second or less often. @returns messages per second
 */
async function settleByStatements(database: string, howMany: number): Promise<number> {
  const app = await openNotes(database);
  await app.close();
  await fillMesh(database, { howMany, table: 'mesh_delivery' });
  const db = new BetterSqlite3(pathOf(database));
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.pragma('temp_store = MEMORY');
  const begin = db.prepare('BEGIN IMMEDIATE');
  const savepoint = db.prepare('SAVEPOINT unit');
  const release = db.prepare('RELEASE unit');
  const commit = db.prepare('COMMIT');
  const due = db.prepare(
    `SELECT seq, consumer, partition_key AS key, event, attempts FROM mesh_delivery
     WHERE consumer = ? AND seq NOT IN (SELECT value FROM json_each(?)) AND attempts = 0 ORDER BY seq LIMIT ?`,
  );
  const claim = db.prepare('DELETE FROM mesh_delivery WHERE seq IN (SELECT value FROM json_each(?)) RETURNING seq');
  const remember = db.prepare(
    `INSERT INTO mesh_inbox (consumer, source, id, handled_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  );
  const write = db.prepare('INSERT INTO notes_note (id, text) VALUES (?, ?)');
  const handle = (deliveries: readonly { seq: number; event: CloudEvent }[]) => {
    savepoint.run();
    const taken = claim.all(JSON.stringify(deliveries.map(({ seq }) => seq))) as { seq: number }[];
    if (taken.length < deliveries.length) throw new Error('A delivery was claimed by another connection');
    for (const { event } of deliveries) remember.run('notes', event.source, event.id, Date.now());
    for (const { event } of deliveries) write.run(event.subject, (event.data as { text: string }).text);
    release.run();
  };
  const perSecond = await rate(howMany, () => {
    for (let settled = 0; settled < howMany;) {
      const rows = due.all('notes', '[]', GROUP) as { seq: number; event: string }[];
      if (rows.length === 0) throw new Error(`Only ${settled} messages were pending`);
      const deliveries = rows.map(({ seq, event }) => ({ seq, event: JSON.parse(event) as CloudEvent }));
      begin.run();
      for (let n = 0; n < deliveries.length; n += SAVEPOINT) handle(deliveries.slice(n, n + SAVEPOINT));
      commit.run();
      settled += rows.length;
    }
  });
  db.close();
  return perSecond;
}
