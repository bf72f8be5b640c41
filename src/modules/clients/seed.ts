import { DEMO_CLIENT } from '../../demo.js';
import { seeding } from '../../seeding.js';
import { Client } from './tables.js';

/** The client of the demo. */
export const ClientsSeed = seeding(async (work) => {
  const clients = work.repository(Client);
  const { name, lastName } = DEMO_CLIENT;
  // Without an id: the first row of an empty table gets the id of the demo, and the sequence advances.
  if (!(await clients.exists())) await clients.insert({ name, lastName, type: 'NORMAL' });
});
