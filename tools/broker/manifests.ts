import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { compile, type Filter, type FilterSpec } from './filters.js';
import { goPeriodMs } from './go-values.js';

/** What the laptop broker understands of `deploy/knative`: Brokers and Triggers. Other kinds are for a cluster. */
export interface Manifests {
  /** As `<namespace>/<name>`. */
  readonly brokers: readonly string[];
  readonly triggers: readonly TriggerManifest[];
}

export interface TriggerManifest {
  readonly name: string;
  readonly namespace: string;
  /** `<namespace>/<name>`. */
  readonly broker: string;
  readonly matches: Filter;
  /** The same for people. */
  readonly filterText: string;
  readonly subscriber: Destination;
  readonly delivery: Delivery;
  readonly deadLetterSink?: Destination;
}

/** An address, or a Service whose address somebody else has to know. */
export interface Destination {
  readonly service?: string;
  /** Absolute without a service, else relative to it. */
  readonly uri?: string;
}

/** A delivery spec, in ms. */
export interface Delivery {
  readonly retry: number;
  readonly backoffPolicy: 'linear' | 'exponential';
  /** 0 for immediate retries, as where a policy or a delay isn't given. */
  readonly backoffDelayMs: number;
  readonly timeoutMs?: number;
  /** 0: a `Retry-After` is ignored. */
  readonly retryAfterMaxMs: number;
}

/** A manifest that can't be read, in one line that names the file. */
export class BadManifest extends Error {
  override readonly name = 'BadManifest';
}

/** To Kubernetes a null is a field that isn't there. */
const optional = <Schema extends z.ZodType>(schema: Schema) =>
  schema.nullish().transform((value) => value ?? undefined);
const text = optional(z.string({ error: 'expected text' }));
const reference = z.looseObject(
  { ref: optional(z.looseObject({ kind: text, name: text })), uri: text },
  { error: 'expected a ref or a uri' },
);
const deliverySpec = z.looseObject(
  {
    retry: optional(z.number({ error: 'expected a number' })),
    backoffPolicy: text,
    backoffDelay: text,
    timeout: text,
    retryAfterMax: text,
    deadLetterSink: optional(reference),
  },
  { error: 'expected a delivery' },
);
const brokerSpec = optional(z.looseObject({ delivery: optional(deliverySpec) }, { error: 'expected fields' }));
const triggerSpec = optional(
  z.looseObject(
    {
      broker: text,
      subscriber: optional(reference),
      delivery: optional(deliverySpec),
      filter: optional(
        z.looseObject(
          { attributes: optional(z.record(z.string(), z.string({ error: 'expected text' }))) },
          { error: 'expected attributes' },
        ),
      ),
      filters: optional(z.array(z.record(z.string(), z.unknown()), { error: 'expected a list of filters' })),
    },
    { error: 'expected fields' },
  ),
);
const metadata = z.looseObject({ name: text, namespace: text }, { error: 'expected fields' });

interface Resource {
  readonly apiVersion?: unknown;
  readonly kind: string;
  readonly metadata?: unknown;
  readonly spec?: unknown;
  readonly namespace?: unknown;
}

type DeliverySpec = Partial<z.infer<typeof deliverySpec>>;
type TriggerSpec = Partial<NonNullable<z.infer<typeof triggerSpec>>>;
type Reference = z.infer<typeof reference>;

/** @throws BadManifest that names the file and the field */
function shaped<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue!.path.map(String).map((it) => JSON.stringify(it).slice(1, -1));
  throw new BadManifest([where, ...(field.length > 0 ? [field.join('.')] : []), issue!.message].join(': '));
}

/**
 * Reads every YAML file of a folder.
 * @throws BadManifest
 */
export function readManifests(folder: string): Manifests {
  const resources = files(folder).flatMap((file) => documents(file).map((resource) => ({ file, resource })));
  // `kubectl apply -k` would put everything into the namespace of the kustomization.
  const kustomization = resources.find(({ resource }) => resource.kind === 'Kustomization');
  const common = kustomization && shaped(text, kustomization.resource.namespace, `${kustomization.file}: namespace`);
  const brokers = new Map<string, DeliverySpec>();
  const triggers: (Named & { file: string; spec: unknown })[] = [];
  for (const { file, resource } of resources) {
    const { apiVersion, kind, spec } = resource;
    if (apiVersion !== 'eventing.knative.dev/v1') continue;
    const { name, namespace = common || 'default' } = shaped(metadata, resource.metadata ?? {}, `${file}: metadata`);
    if (!name) throw new BadManifest(`${file}: a ${oneLine(kind)} without a name`);
    if (kind === 'Broker') {
      const where = `${file}: Broker ${oneLine(name)}: spec`;
      brokers.set(`${namespace}/${name}`, shaped(brokerSpec, spec, where)?.delivery ?? {});
    }
    if (kind === 'Trigger') triggers.push({ file, name, namespace, spec });
  }
  if (brokers.size === 0) throw new BadManifest(`${folder}: there is no Broker in any YAML file`);
  return {
    brokers: [...brokers.keys()],
    triggers: triggers.map(({ file, spec, ...named }) => {
      const where = `${file}: Trigger ${oneLine(named.name)}`;
      const read = shaped(triggerSpec, spec, `${where}: spec`) ?? {};
      try {
        return trigger(named, read, brokers);
      } catch (error) {
        throw new BadManifest(`${where}: ${(error as Error).message.split('\n')[0]}`);
      }
    }),
  };
}

interface Named {
  readonly name: string;
  readonly namespace: string;
}

/** Text of a manifest, for a message. */
function oneLine(shown: string): string {
  return JSON.stringify(shown).slice(1, -1);
}

function files(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
    return names.sort().map((name) => join(folder, name));
  } catch {
    throw new BadManifest(`${folder}: there is no such folder of manifests`);
  }
}

function documents(file: string): Resource[] {
  const found = parseAllDocuments(readFileSync(file, 'utf8'));
  const documents = Array.isArray(found) ? found : [];
  return documents.flatMap((document) => {
    const [error] = document.errors;
    if (error) throw new BadManifest(`${file}: ${error.message.split('\n')[0]}`);
    return resourcesOf(file, content(file, document));
  });
}

/** @throws BadManifest for what YAML allows and nobody can resolve, such as an alias of nothing */
function content(file: string, document: { toJS(): unknown }): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new BadManifest(`${file}: ${(error as Error).message.split('\n')[0]}`);
  }
}

function resourcesOf(file: string, resource: unknown): Resource[] {
  if (resource === null || resource === undefined) return [];
  // A kustomization may leave its kind out.
  const fields = typeof resource === 'object' ? (resource as Partial<Resource> & { items?: unknown }) : {};
  const kind = fields.kind ?? kindOfFile(file);
  if (typeof kind !== 'string' || kind === '') throw new BadManifest(`${file}: this is no Kubernetes resource`);
  if (kind === 'List' && Array.isArray(fields.items)) return fields.items.flatMap((item) => resourcesOf(file, item));
  return [{ ...fields, kind }];
}

const kindOfFile = (file: string) => (basename(file).startsWith('kustomization.') ? 'Kustomization' : undefined);

function trigger({ name, namespace }: Named, spec: TriggerSpec, brokers: Map<string, DeliverySpec>): TriggerManifest {
  const { broker: of = 'default', subscriber, delivery, filter, filters } = spec;
  const wanted = filterSpec(filter, filters);
  const broker = `${namespace}/${of}`;
  const inherited = brokers.get(broker);
  if (!inherited) throw new Error(`there is no Broker ${oneLine(broker)}`);
  if (!subscriber) throw new Error('it has no subscriber');
  // The Trigger's spec replaces the Broker's as a whole; only a missing dead letter sink is filled in.
  const chosen = delivery ?? inherited;
  const sink = chosen.deadLetterSink ?? inherited.deadLetterSink;
  return {
    name,
    namespace,
    broker,
    matches: compile(wanted),
    filterText: describe(wanted),
    subscriber: destination(subscriber),
    delivery: deliveryOf(chosen),
    ...(sink && { deadLetterSink: destination(sink) }),
  };
}

function filterSpec(filter: { attributes?: Record<string, string> } | undefined, filters: FilterSpec['filters']) {
  const { attributes } = filter ?? {};
  return { ...(attributes && { filter: { attributes } }), ...(filters && { filters }) };
}

/** Most Triggers want one type, which says it all. */
function describe({ filter, filters }: FilterSpec): string {
  if (filters && filters.length > 0) return JSON.stringify(filters);
  const { type, ...others } = filter?.attributes ?? {};
  const more = Object.keys(others).length > 0 ? JSON.stringify(others) : '';
  return [type, more].filter(Boolean).join(' ') || 'everything';
}

function destination({ ref, uri }: Reference): Destination {
  if (ref) {
    if (ref.kind !== 'Service' || !ref.name) {
      throw new Error(
        `a subscriber is a Service with a name or a uri, not a ${oneLine(ref.kind ?? 'ref without a kind')}`,
      );
    }
    return { service: ref.name, ...(uri && { uri }) };
  }
  if (!uri || !URL.canParse(uri)) throw new Error('a subscriber without ref needs an absolute uri');
  return { uri };
}

function deliveryOf(spec: DeliverySpec): Delivery {
  const { retry = 0, backoffPolicy, backoffDelay, timeout, retryAfterMax } = spec;
  if (!Number.isInteger(retry) || retry < 0) throw new Error(`retry: ${retry} is no number of retries`);
  if (backoffPolicy && !['linear', 'exponential'].includes(backoffPolicy))
    throw new Error(`backoffPolicy: ${oneLine(backoffPolicy)} is neither linear nor exponential`);
  const hasBackoff = backoffPolicy !== undefined && backoffDelay !== undefined;
  return {
    retry,
    backoffPolicy: backoffPolicy === 'exponential' ? 'exponential' : 'linear',
    backoffDelayMs: hasBackoff ? period('backoffDelay', backoffDelay) : 0,
    ...(timeout && period('timeout', timeout) > 0 && { timeoutMs: period('timeout', timeout) }),
    retryAfterMaxMs: retryAfterMax ? period('retryAfterMax', retryAfterMax) : 0,
  };
}

function period(name: string, text: string): number {
  const ms = goPeriodMs(text);
  if (ms === undefined) throw new Error(`${name}: ${oneLine(text)} is no ISO 8601 duration such as PT0.2S`);
  return ms;
}
