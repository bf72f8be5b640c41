import { z } from 'zod';
import { toWire } from './mapping.js';

/** A JSON Schema of draft 7. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** The JSON Schema of data as it is sent: field names in kebab case. */
export function wireSchema(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { target: 'draft-7', unrepresentable: 'any' }) as JsonSchema;
  return renamed(json) as JsonSchema;
}

const NAMES = ['properties', 'patternProperties'];

/** Field names stand in `properties` and `required`, all the way down. */
function renamed(value: unknown, isNamed = false): unknown {
  if (Array.isArray(value)) return value.map((it) => renamed(it));
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([key, inner]): [string, unknown] => {
    if (isNamed) return [wireName(key), renamed(inner)];
    if (key === 'required' && Array.isArray(inner)) return [key, inner.map((it) => wireName(String(it)))];
    return [key, renamed(inner, NAMES.includes(key))];
  });
  return Object.fromEntries(entries);
}

function wireName(field: string): string {
  return Object.keys(toWire({ [field]: 0 }) as object)[0]!;
}

/** Texts for formats and patterns that a schema may ask for. */
const FORMATS: Readonly<Record<string, string>> = {
  uuid: '0198c5e0-5c4d-7a3b-8f21-3a4b5c6d7e8f',
  'date-time': '2026-11-30T12:00:00.000Z',
  date: '2026-11-30',
  email: 'anna@example.com',
  uri: 'https://example.com/',
};

/** A value that a schema accepts, as long as it has no pattern of its own. Optional fields are there, too. */
export function exampleOf(schema: JsonSchema): unknown {
  const { const: constant, enum: values, default: standard, examples, type, properties, items, format } = schema;
  if (constant !== undefined) return constant;
  if (Array.isArray(examples) && examples.length > 0) return examples[0];
  if (Array.isArray(values)) return values[0];
  if (standard !== undefined) return standard;
  const [choice] = (schema.anyOf ?? schema.oneOf ?? []) as JsonSchema[];
  if (choice) return exampleOf(choice);
  const parts = (schema.allOf ?? []) as JsonSchema[];
  if (parts.length > 0) return Object.assign({}, ...parts.map(exampleOf)) as unknown;
  switch (Array.isArray(type) ? type[0] : type) {
    case 'object':
      return Object.fromEntries(
        Object.entries((properties ?? {}) as Record<string, JsonSchema>).map(([name, it]) => [name, exampleOf(it)]),
      );
    case 'array':
      return items ? [exampleOf(items as JsonSchema)] : [];
    case 'string':
      return FORMATS[String(format)] ?? 'text'.padEnd(Number(schema.minLength ?? 0), '.');
    case 'integer':
    case 'number':
      return numberIn(schema);
    case 'boolean':
      return true;
    default:
      return null;
  }
}

function numberIn({ minimum, exclusiveMinimum, maximum }: JsonSchema): number {
  const lowest =
    typeof minimum === 'number' ? minimum : typeof exclusiveMinimum === 'number' ? exclusiveMinimum + 1 : 1;
  return Math.min(Math.max(lowest, 1), typeof maximum === 'number' ? maximum : Infinity);
}
