import { StandardSchemaValidationPipe, type ArgumentMetadata } from '@nestjs/common';
import { ValidationFailed } from '../contracts/domain-errors.js';

/** Characters without a shape: zero-width ones, controls of direction, fillers, blanks that aren't spaces, line separators. */
const INVISIBLE = /[\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800\uFFF9-\uFFFB]/u;

interface Issue {
  readonly field: string;
  readonly detail: string;
}

/** Validates parameters and bodies against the `schema` of their decorator. @throws ValidationFailed naming the fields */
export function schemaValidation(): StandardSchemaValidationPipe {
  return new VisibleTextPipe({
    exceptionFactory: (issues) =>
      new ValidationFailed(
        issues.map(({ path = [], message }) => ({
          field: path.map((it) => String(typeof it === 'object' ? it.key : it)).join('.'),
          detail: path.length ? message : `send a JSON object as the body (${message})`,
        })),
      ),
  });
}

/**
 * Also refuses text of users that others can't see or read as it is written. It is no part of the schemas: messages carry
 * text that was accepted earlier.
 */
class VisibleTextPipe extends StandardSchemaValidationPipe {
  override async transform<T>(value: T, metadata: ArgumentMetadata): Promise<T> {
    const hidden = metadata.type === 'body' && metadata.schema ? invisibleText(value) : [];
    if (hidden.length > 0) throw new ValidationFailed(hidden);
    return super.transform(value, metadata);
  }
}

function invisibleText(value: unknown, path: readonly string[] = []): Issue[] {
  if (typeof value === 'string') {
    const detail = 'must not hold invisible characters, or those that change the direction of text';
    return INVISIBLE.test(value) ? [{ field: path.join('.'), detail }] : [];
  }
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => invisibleText(inner, [...path, key]));
}
