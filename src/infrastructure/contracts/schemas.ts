import { z } from 'zod';

/* Schemas that requests and messages of any application need. */

/** The largest id that a 32-bit column holds; beyond it nothing exists. */
export const MAX_ID = 2 ** 31 - 1;

/** An id in a path or query: a positive integer, however large. What no row can have is well formed; it isn't there. */
export const writtenId = z
  .string()
  .regex(/^[1-9]\d*$/, 'expected a positive integer')
  .transform((digits) => Math.min(Number(digits), Number.MAX_SAFE_INTEGER));

/** An id in a path: a positive integer. */
export const idParameter = z.object({ id: writtenId });

/** An id in a path: a UUID. */
export const uuidParameter = z.object({ id: z.guid().transform((id) => id.toLowerCase()) });

/** Text that people write: trimmed, of a bearable length, and nothing that a database can't keep. */
export function text(max = 200): z.ZodString {
  return z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(max)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not hold control characters');
}

/** Text as others have written it, of a bearable length: nothing but what a database can't keep is refused. */
export function writtenText(max = 200): z.ZodString {
  return z
    .string()
    .max(max)
    .regex(/^[^\0\p{Cs}]*$/u, 'must hold neither NUL nor halves of characters');
}

/** `page` (from 1) and `size` of a listing. */
export const paging = z.object({
  page: z
    .string()
    .regex(/^[1-9]\d{0,6}$/, 'expected a number from 1')
    .transform(Number)
    .default(1),
  size: z
    .string()
    .regex(/^([1-9]\d?|100)$/, 'expected 1 to 100')
    .transform(Number)
    .default(20),
});

/** An integer that names a row. Numbers that no row can have are well formed; there just is nothing. */
export const recordId = z.int().min(1);

/** The id of a row that exists, as messages carry it. */
export const storedId = recordId.max(MAX_ID);

/** Money in cents. */
export const cents = z.int().min(0).max(MAX_ID);

/** A distance in metres, which a 32-bit column holds; the dearest tariff makes less than `MAX_ID` cents of it. */
export const metres = z.int().min(0).max(MAX_ID);

/** A moment in UTC, ISO 8601. */
export const moment = z.iso.datetime();
