import { z } from 'zod';
import { paging } from '../contracts/schemas.js';

/* The query parameters of the routes of dead letters. */

/** PostgreSQL refuses NUL, also in a comparison, and SQLite ends a text there. */
const exactly = (max: number) =>
  z
    .string()
    .max(max)
    .refine((it) => !it.includes('\0'), 'must not hold NUL')
    .optional();
const filter = z.object({ consumer: exactly(100), type: exactly(300), cause: exactly(300) });

export const listing = filter.extend({ ...paging.shape, by: z.literal('cause').optional() });
export const replaying = z.object({ force: z.enum(['true', 'false']).optional() });
export const replayingAll = filter.extend(replaying.shape);
