import { z } from 'zod';

/* Schemas for the requests and messages of any application. */

/** Largest id that a 32-bit column holds. */
export const MAX_ID = 2 ** 31 - 1;

/** An id in a path or query: a positive integer. One that is too large for a row is valid, and leads to 404. */
export const writtenId = z
  .string()
  .regex(/^[1-9]\d*$/, 'expected a positive integer')
  .transform((digits) => Math.min(Number(digits), Number.MAX_SAFE_INTEGER));

/** An id in a path: a positive integer. */
export const idParameter = z.object({ id: writtenId });

/** An id in a path: a UUID. */
export const uuidParameter = z.object({ id: z.guid().transform((id) => id.toLowerCase()) });

/** Text of a user: trimmed, not empty, at most `max` characters, without control characters. */
export function text(max = 200): z.ZodString {
  return z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(max)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not hold control characters');
}

/** Text that was accepted earlier: at most `max` characters, without NUL and lone surrogates, which databases can't store. */
export function writtenText(max = 200): z.ZodString {
  return z
    .string()
    .max(max)
    .regex(/^[^\0\p{Cs}]*$/u, 'must not hold NUL or lone surrogates');
}

/** What a listing compares exactly. PostgreSQL refuses NUL, also in a comparison, and SQLite ends a text there. */
export function queryText(max: number): z.ZodString {
  return z
    .string()
    .max(max)
    .regex(/^[^\0]*$/, 'must not hold NUL');
}

const from1To100 = z
  .string()
  .regex(/^([1-9]\d?|100)$/, 'expected 1 to 100')
  .transform(Number);

/** `page` and `size` of a listing. The database reads all rows before a page, so the number of pages is limited. */
export const paging = z.object({ page: from1To100.default(1), size: from1To100.default(20) });

/** Rows that the `total` of a listing counts, at most: all that its pages can show. The database reads each of them. */
export const MAX_TOTAL = 10_000;

/** The `total` of a listing. */
export const total = z.int().describe(`${MAX_TOTAL} means at least so many`);

/** Query parameters of a route. Others are refused: a misspelt filter would list all rows. */
export function queryParameters<Shape extends z.ZodRawShape>(shape: Shape): z.ZodObject<Shape> {
  const detail = `unknown query parameter, expected one of ${Object.keys(shape).join(', ')}`;
  // A strict object would name the unknown ones in its message only, not as the field.
  const refused = z.unknown().refine(() => false, detail);
  return z.object(shape).catchall(refused);
}

/** The id of a row, which need not exist. */
export const recordId = z.int().min(1);

/** The id of a row that exists, as messages carry it. */
export const storedId = recordId.max(MAX_ID);

/** Money in cents. */
export const cents = z.int().min(0).max(MAX_ID);

/** A distance in metres that a 32-bit column holds; the price of the dearest tariff for it fits, too. */
export const metres = z.int().min(0).max(MAX_ID);

/** A time in UTC, ISO 8601. */
export const moment = z.iso.datetime();

const DURATION = /^P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/;

/** An ISO 8601 duration as text. Months and years differ in length, so they are refused. */
export const durationText = z.string().regex(DURATION, 'expected an ISO 8601 duration such as PT0.2S or P14D');

/** The ms of a valid ISO 8601 duration. */
export function durationMs(text: string): number {
  const [, days, hours, minutes, seconds] = DURATION.exec(text)!;
  const wholeDays = Number(days ?? 0) * 86_400_000;
  const inSeconds = Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0);
  return wholeDays + Math.round(inSeconds * 1000);
}
