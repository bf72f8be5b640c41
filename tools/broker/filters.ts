import { NotSupported } from './manifest-schema.js';
import { asHeader, type StoredEvent } from './stored-event.js';

/** Whether an event matches the filter of a Trigger. */
export type Filter = (event: StoredEvent) => boolean;

/** The filter fields of a Trigger's spec. */
export interface FilterSpec {
  readonly filter?: { readonly attributes?: Record<string, string> };
  readonly filters?: readonly Record<string, unknown>[];
}

/** Deepest nesting of filters: code that walks them uses some stack for each level. */
const MAX_DEPTH = 100;

const everything: Filter = () => true;

/**
 * Compiles the filter of a Trigger. `filters` takes precedence over the older `filter`.
 * @throws NotSupported for CESQL, and Error for a filter that Knative would refuse
 */
export function compile({ filter, filters }: FilterSpec): Filter {
  if (filters && filters.length > 0) return all(filters.map((it) => dialect(it)));
  return attributes(filter?.attributes ?? {});
}

/** Compares for equality. `""` matches every event that has the attribute. */
function attributes(wanted: Record<string, string>): Filter {
  const entries = Object.entries(wanted).map(([name, value]) => [name, asHeader(value)] as const);
  return (event) => {
    const has = legacyAttributes(event);
    return entries.every(([name, value]) => typeof has[name] === 'string' && (value === '' || has[name] === value));
  };
}

function dialect(spec: Record<string, unknown>, depth = 1): Filter {
  if (depth > MAX_DEPTH) throw new Error(`The filters are nested deeper than ${MAX_DEPTH} levels`);
  const inner = (it: Record<string, unknown>) => dialect(it, depth + 1);
  const [first, ...more] = Object.entries(spec);
  if (!first) return everything;
  if (more.length > 0)
    throw new Error(
      `A filter has one dialect, but here are ${Object.keys(spec)
        .map((it) => JSON.stringify(it))
        .join(' and ')}`,
    );
  const [name, value] = first;
  switch (name) {
    case 'exact':
      return matching(oneOf(name, value), (has, wanted) => has === wanted);
    case 'prefix':
      return matching(oneOf(name, value), (has, wanted) => has.startsWith(wanted));
    case 'suffix':
      return matching(oneOf(name, value), (has, wanted) => has.endsWith(wanted));
    case 'all':
      return all(listOf(name, value).map(inner));
    case 'any': {
      const some = listOf(name, value).map(inner);
      return some.length === 0 ? everything : (event) => some.some((filter) => filter(event));
    }
    case 'not': {
      const unwanted = inner(oneOf(name, value));
      return (event) => !unwanted(event);
    }
    case 'cesql':
      throw new NotSupported('the laptop broker has no CESQL filters: use exact, prefix, suffix, all, any or not');
    default:
      throw new Error(
        `Unknown filter dialect ${JSON.stringify(name)}: expected exact, prefix, suffix, all, any or not`,
      );
  }
}

/** An empty value is no condition. A missing attribute matches no other value. */
function matching(spec: Record<string, unknown>, matches: (has: string, wanted: string) => boolean): Filter {
  const entries = Object.entries(spec).map(([name, text]) => {
    if (typeof text !== 'string') throw new Error(`Filter attribute ${JSON.stringify(name)}: expected text`);
    return [name, asHeader(text)] as const;
  });
  return (event) => {
    const has = event as Record<string, unknown>;
    return entries.every(([name, wanted]) => {
      if (wanted === '') return true;
      const value = name === 'data' || name.includes('_') ? undefined : has[name];
      return typeof value === 'string' && matches(value, wanted);
    });
  };
}

/** @throws Error when the value is no list of filters */
function listOf(dialect: string, value: unknown): Record<string, unknown>[] {
  if (!Array.isArray(value)) throw new Error(`Filter dialect ${dialect}: expected a list of filters`);
  return value.map((it) => oneOf(dialect, it));
}

function oneOf(dialect: string, value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`Filter dialect ${dialect}: expected fields, got ${JSON.stringify(value)}`);
}

function all(filters: readonly Filter[]): Filter {
  return (event) => filters.every((filter) => filter(event));
}

/** The attributes as the older filter sees them: some have two names, and `time` is formatted by Go. */
function legacyAttributes(event: StoredEvent): Record<string, string | undefined> {
  const { data: _data, data_base64: _base64, _mesh, ...named } = event;
  const type = event.datacontenttype;
  return {
    ...(named as Record<string, string>),
    schemaurl: event.dataschema ?? (event.schemaurl as string | undefined),
    datamediatype: type?.split(';')[0]!.trim(),
    time: event.time?.replace(/^(.{10})T(.*)Z$/, '$1 $2 +0000 UTC'),
  };
}
