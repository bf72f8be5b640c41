import { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
import { Relay } from '../src/infrastructure/outbox/relay.js';
import type { RetentionPolicy } from '../src/infrastructure/store/expired-rows.js';
import { fillMesh } from './backlog.js';
import { openNotes, settled, type NoteCommand } from './notes.js';

/** @param database an empty database. @returns messages per second, from the delivery to a committed row */
export async function settleByMesh(
  database: string,
  howMany: number,
  command: NoteCommand,
  retention: Partial<RetentionPolicy> = {},
) {
  const app = await openNotes(database, { retention });
  const relay = app.get(Relay);
  await relay.stop(0);
  await fillMesh(database, { howMany, command, table: 'mesh_delivery' });
  const last = settled.next(howMany);
  const started = performance.now();
  await relay.start(app.get(InboxReceiver).consumers);
  const ms = (await last) - started;
  await app.close();
  return (1000 * howMany) / ms;
}
