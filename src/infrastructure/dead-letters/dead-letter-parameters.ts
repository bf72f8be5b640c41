import { z } from 'zod';
import { paging, queryText } from '../contracts/schemas.js';

/* The query parameters of the routes of dead letters. */

const filter = z.object({
  consumer: queryText(100).optional(),
  type: queryText(300).optional(),
  cause: queryText(300).optional(),
});

export const listing = filter.extend({ ...paging.shape, by: z.literal('cause').optional() });
export const replaying = z.object({ force: z.enum(['true', 'false']).optional() });
export const replayingAll = filter.extend(replaying.shape);
