import { z } from 'zod';

interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minimum?: number;
}

const TEXTS: Record<string, string> = {
  uuid: 'a3bb189e-8bf9-4888-9912-ace4e6543002',
  'date-time': '2021-04-14T10:00:00Z',
};

/** A value that a schema accepts, so that a test covers messages that are declared later. @throws ZodError if it doesn't */
export function sampleOf(schema: z.ZodType): unknown {
  const sample = valueOf(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema);
  schema.parse(sample);
  return sample;
}

function valueOf(schema: JsonSchema): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return valueOf(schema.anyOf[0]!);
  if (schema.type === 'object') {
    const fields = Object.entries(schema.properties ?? {}).filter(([name]) => schema.required?.includes(name));
    return Object.fromEntries(fields.map(([name, field]) => [name, valueOf(field)]));
  }
  if (schema.type === 'array') return schema.items ? [valueOf(schema.items)] : [];
  if (schema.type === 'string') return TEXTS[schema.format ?? ''] ?? 'text';
  if (schema.type === 'integer' || schema.type === 'number') return Math.max(1, schema.minimum ?? 1);
  return schema.type === 'boolean' ? true : null;
}
