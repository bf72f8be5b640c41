import { z } from 'zod';
import { toWire } from '../src/infrastructure/cloudevents/mapping.js';

/* Shows a zod schema as a table in Markdown. */

interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly description?: string;
  readonly enum?: unknown[];
  readonly const?: unknown;
  readonly anyOf?: JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Record<string, JsonSchema>;
  readonly required?: string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
}

/** A table of the fields of a schema. Names of inner fields contain dots. */
export function schemaTable(schema: z.ZodType, title: string, isOnWire: boolean): string {
  const root = z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' }) as JsonSchema;
  const rows: string[] = [];
  const walk = (name: string, it: JsonSchema, isOptional: boolean): void => {
    const { schema: bare, suffix } = withoutNull(it);
    const type = `${typeOf(bare)}${suffix}${isOptional ? ', optional' : ''}`;
    const remark = it.description ?? bare.description;
    if (name) rows.push(`| \`${name}\` | ${type}${remark ? ` (${remark})` : ''} |`);
    const inner = bare.items ? withoutNull(bare.items).schema : bare;
    const prefix = name ? `${name}${bare.items ? '[]' : ''}.` : '';
    for (const [key, property] of Object.entries(inner.properties ?? {})) {
      const [shown] = isOnWire ? Object.keys(toWire({ [key]: 0 }) as object) : [key];
      walk(`${prefix}${shown}`, property, !inner.required?.includes(key));
    }
  };
  walk('', root, false);
  const { schema: bare, suffix } = withoutNull(root);
  const whole = typeOf(bare) === 'object' && !suffix ? '' : `${typeOf(bare)}${suffix}`;
  const header = `| ${title} | ${whole || 'type'} |\n| --- | --- |`;
  return rows.length > 0 ? [header, ...rows].join('\n') : `${title}: ${whole || 'nothing'}`;
}

function withoutNull(schema: JsonSchema): { schema: JsonSchema; suffix: string } {
  const rest = schema.anyOf?.filter(({ type }) => type !== 'null');
  const isNullable = rest?.length === 1 && rest.length < schema.anyOf!.length;
  return isNullable ? { schema: rest[0]!, suffix: ' or null' } : { schema, suffix: '' };
}

function typeOf(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((it) => `\`${String(it)}\``).join(' or ');
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' or ');
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(withoutNull(schema.items).schema) : 'anything'}`;
  const type = schema.format ?? schema.type ?? 'anything';
  const isNumber = schema.type === 'integer' || schema.type === 'number';
  return `${type}${isNumber ? range(schema.minimum, schema.maximum) : range(schema.minLength, schema.maxLength)}`;
}

/** Bounds of the schema; the default bounds of integers (2^53) are left out. */
function range(from: number | undefined, to: number | undefined): string {
  const low = from !== undefined && from > Number.MIN_SAFE_INTEGER ? from : undefined;
  const high = to !== undefined && to < Number.MAX_SAFE_INTEGER ? to : undefined;
  if (low === undefined && high === undefined) return '';
  if (low === undefined) return ` up to ${high}`;
  return high === undefined ? ` from ${low}` : ` ${low} to ${high}`;
}
