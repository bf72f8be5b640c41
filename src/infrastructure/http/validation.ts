import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import type { z } from 'zod';
import { fieldOf, issuesOf, ValidationFailed, type Issue } from '../contracts/domain-errors.js';

/** Characters without a shape: zero-width ones, controls of direction, fillers, blanks that aren't spaces, line separators. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800\uFFF9-\uFFFB]/u;

/** Scripts whose spelling needs joiners inside words (RFC 5892, appendix A): Persian, and those of India. */
const JOINED =
  'Arabic Syriac Mongolian Nko Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala'
    .split(' ')
    .map((script) => `\\p{Script=${script}}`)
    .join('');
const PICTURE = '\\p{Extended_Pictographic}';
/** Marks without a shape that belong to the text: joiners inside such words, and what makes emoji of characters. */
const BELONGING = new RegExp(
  [
    `(?<=[${JOINED}])[\\u200C\\u200D](?=[${JOINED}])`,
    `(?<=${PICTURE}[\\uFE0F\\u{1F3FB}-\\u{1F3FF}]?)\\u200D(?=${PICTURE})`,
    `(?<=${PICTURE})[\\uFE0E\\uFE0F]`,
    `(?<=[\\d#*])\\uFE0F(?=\\u20E3)`,
    // Variants of one character: of Han in names of places and people, and those of Mongolian.
    '(?<=\\p{Script=Han})[\\u{E0100}-\\u{E01EF}]',
    '(?<=\\p{Script=Mongolian})[\\u180B-\\u180D\\u180F]',
  ].join('|'),
  'gu',
);

/** The value as its schema has it. @throws ValidationFailed naming the fields */
export async function validated<T>(schema: z.ZodType<T>, value: unknown): Promise<T> {
  const { data, error } = await schema.safeParseAsync(value);
  if (!error) return data;
  const [whole] = error.issues.filter(({ path }) => path.length === 0);
  throw new ValidationFailed(
    whole ? [{ field: '', detail: `send a JSON object as the body (${whole.message})` }] : issuesOf(error),
  );
}

/**
 * Validates parameters and bodies by a schema of zod: `@Body(new SchemaPipe(schema))`; as a global pipe by the `schema` of
 * their decorators, which Nest has since 12: `@Body({ schema })`. Also refuses text of users in a body that others can't
 * see or read as it is written. That is no part of the schemas: messages carry text that was accepted earlier.
 */
export class SchemaPipe implements PipeTransform {
  constructor(private readonly schema?: z.ZodType) {}

  /** @throws ValidationFailed naming the fields */
  async transform(value: unknown, metadata: ArgumentMetadata): Promise<unknown> {
    const schema = this.schema ?? (metadata as { schema?: z.ZodType }).schema;
    if (!schema) return value;
    if (metadata.type === 'body' && !invisibleText(value).next().done) throw new ValidationFailed(invisibleText(value));
    return validated(schema, value);
  }
}

function* invisibleText(value: unknown, path: readonly string[] = []): Generator<Issue> {
  const detail = 'must not hold invisible characters, or those that change the direction of text';
  if (typeof value === 'string' && INVISIBLE.test(value.replace(BELONGING, ''))) yield { field: fieldOf(path), detail };
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) yield* invisibleText(inner, [...path, key]);
}
