import type { ArgumentMetadata, PipeTransform } from '@nestjs/common';
import type { z } from 'zod';
import { ValidationFailed } from '../contracts/domain-errors.js';

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
  ].join('|'),
  'gu',
);

interface Issue {
  readonly field: string;
  readonly detail: string;
}

/** The value as its schema has it. @throws ValidationFailed naming the fields */
export async function validated<T>(schema: z.ZodType<T>, value: unknown): Promise<T> {
  const { data, error } = await schema.safeParseAsync(value);
  if (!error) return data;
  throw new ValidationFailed(
    error.issues.map(({ path, message }) => ({
      field: path.map(String).join('.'),
      detail: path.length ? message : `send a JSON object as the body (${message})`,
    })),
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
    const hidden = metadata.type === 'body' ? invisibleText(value) : [];
    if (hidden.length > 0) throw new ValidationFailed(hidden);
    return validated(schema, value);
  }
}

function invisibleText(value: unknown, path: readonly string[] = []): Issue[] {
  if (typeof value === 'string') {
    const detail = 'must not hold invisible characters, or those that change the direction of text';
    return INVISIBLE.test(value.replace(BELONGING, '')) ? [{ field: path.join('.'), detail }] : [];
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => invisibleText(inner, [...path, key]));
}
