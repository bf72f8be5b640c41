import { StandardSchemaValidationPipe } from '@nestjs/common';
import { ValidationFailed } from '../contracts/domain-errors.js';

/** Validates parameters and bodies against the `schema` of their decorator. @throws ValidationFailed naming the fields */
export function schemaValidation(): StandardSchemaValidationPipe {
  return new StandardSchemaValidationPipe({
    exceptionFactory: (issues) =>
      new ValidationFailed(
        issues.map(({ path = [], message }) => ({
          field: path.map((it) => String(typeof it === 'object' ? it.key : it)).join('.'),
          detail: path.length ? message : `send a JSON object as the body (${message})`,
        })),
      ),
  });
}
