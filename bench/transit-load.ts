import { setTimeout as wait } from 'node:timers/promises';
import { isSuccess, type Users } from '../workshop/lab/load.js';
import type { RideFixture } from '../workshop/runner/fixtures.js';
import { NODE_ENVIRONMENT } from './measured-node.js';

/* The load of all measurements over HTTP: users who complete transits. */

/** Users who complete transits at the same time. */
export const USERS = 16;
/** Transits that are completed before the first measurement, so many times: then the code is compiled. */
export const WARM_UP = { transits: 200, times: 5 };
/** The environment of all processes that are measured over HTTP: without a journal, as in production. */
export const QUIET = { ...NODE_ENVIRONMENT, LOG_LEVEL: 'fatal', MESH_JOURNAL: 'PT0S' };

/** How many tables of the mesh hold messages that are not handled yet. */
export const PENDING = `SELECT
  CASE WHEN EXISTS (SELECT 1 FROM mesh_outbox) THEN 1 ELSE 0 END +
  CASE WHEN EXISTS (SELECT 1 FROM mesh_delivery) THEN 1 ELSE 0 END AS n`;

/**
 * Lets users complete transits. @param pending 0 when all messages are handled
 * @returns ms from the first request until no message is pending
 */
export async function completeAndSettle(
  name: string,
  users: Users,
  transits: RideFixture[],
  pending: () => Promise<number>,
  atATime = USERS,
): Promise<number> {
  const began = performance.now();
  const answers = await users.inTurn(transits, atATime);
  const failed = answers.filter((it) => !isSuccess(it)).length;
  if (failed > 0) throw new Error(`${name}: ${failed} transits were not completed`);
  while ((await pending()) > 0) await wait(10);
  return performance.now() - began;
}
