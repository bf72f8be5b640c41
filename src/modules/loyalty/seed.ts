import { DEMO_CLIENT } from '../../demo.js';
import { seeding } from '../../seeding.js';
import { AwardsAccount } from './tables.js';

/** The client of the demo has an active account. */
export const LoyaltySeed = seeding(async (work) => {
  const row = { clientId: DEMO_CLIENT.id, active: true, transactions: 0, openedAt: '2025-02-04T08:00:00.000Z' };
  await work.repository(AwardsAccount).createQueryBuilder().insert().values(row).orIgnore().execute();
});
