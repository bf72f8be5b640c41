import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
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
  readonly wants: Filter;
  /** The same for people. */
  readonly wanted: string;
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

interface Resource {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
  readonly spec?: Record<string, unknown>;
}

interface DeliverySpec {
  readonly retry?: number;
  readonly backoffPolicy?: 'linear' | 'exponential';
  readonly backoffDelay?: string;
  readonly timeout?: string;
  readonly retryAfterMax?: string;
  readonly deadLetterSink?: Reference;
}

interface Reference {
  readonly ref?: { readonly kind?: string; readonly name?: string };
  readonly uri?: string;
}

interface TriggerSpec extends FilterSpec {
  readonly broker?: string;
  readonly subscriber?: Reference;
  readonly delivery?: DeliverySpec;
}

/**
 * Reads every YAML file of a folder.
 * @throws BadManifest
 */
export function readManifests(folder: string): Manifests {
  const resources = files(folder).flatMap((file) => documents(file).map((resource) => ({ file, resource })));
  // `kubectl apply -k` would put everything into the namespace of the kustomization.
  const kustomization = resources.find(({ resource }) => resource.kind === 'Kustomization')?.resource;
  const common = (kustomization as { namespace?: string } | undefined)?.namespace ?? 'default';
  const brokers = new Map<string, DeliverySpec>();
  const triggers: { file: string; resource: Resource }[] = [];
  for (const { file, resource } of resources) {
    if (!/^eventing\.knative\.dev\/v1$/.test(resource.apiVersion ?? '')) continue;
    const named = {
      ...resource,
      metadata: { ...resource.metadata, namespace: resource.metadata?.namespace ?? common },
    };
    if (!named.metadata.name) throw new BadManifest(`${file}: a ${resource.kind} without a name`);
    if (resource.kind === 'Broker') {
      brokers.set(
        `${named.metadata.namespace}/${named.metadata.name}`,
        (resource.spec?.delivery as DeliverySpec) ?? {},
      );
    }
    if (resource.kind === 'Trigger') triggers.push({ file, resource: named });
  }
  if (brokers.size === 0) throw new BadManifest(`${folder}: there is no Broker in any YAML file`);
  return {
    brokers: [...brokers.keys()],
    triggers: triggers.map(({ file, resource }) => {
      try {
        return trigger(resource, brokers);
      } catch (error) {
        throw new BadManifest(`${file}: Trigger ${resource.metadata?.name}: ${(error as Error).message}`);
      }
    }),
  };
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
    const resource: unknown = document.toJS();
    if (resource === null) return [];
    // A kustomization may leave its kind out.
    const { kind, items } = { kind: kindOfFile(file), ...(resource as Resource & { items?: Resource[] }) };
    if (typeof resource !== 'object' || !kind) throw new BadManifest(`${file}: this is no Kubernetes resource`);
    return kind === 'List' && items ? items : [{ ...(resource as Resource), kind }];
  });
}

const kindOfFile = (file: string) => (basename(file).startsWith('kustomization.') ? 'Kustomization' : undefined);

function trigger({ metadata, spec }: Resource, brokers: Map<string, DeliverySpec>): TriggerManifest {
  const { broker: name = 'default', subscriber, delivery, ...filters } = (spec ?? {}) as TriggerSpec;
  const namespace = metadata!.namespace!;
  const broker = `${namespace}/${name}`;
  const inherited = brokers.get(broker);
  if (!inherited) throw new Error(`there is no Broker ${broker}`);
  if (!subscriber) throw new Error('it has no subscriber');
  // The Trigger's spec replaces the Broker's as a whole; only a missing dead letter sink is filled in.
  const chosen = delivery ?? inherited;
  const sink = chosen.deadLetterSink ?? inherited.deadLetterSink;
  return {
    ...{ name: metadata!.name!, namespace, broker },
    ...{ wants: compile(filters), wanted: describe(filters) },
    subscriber: destination(subscriber),
    delivery: deliveryOf(chosen),
    ...(sink && { deadLetterSink: destination(sink) }),
  };
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
    if (ref.kind !== 'Service' || !ref.name) throw new Error(`a subscriber is a Service or a uri, not a ${ref.kind}`);
    return { service: ref.name, ...(uri && { uri }) };
  }
  if (!uri || !URL.canParse(uri)) throw new Error('a subscriber without ref needs an absolute uri');
  return { uri };
}

function deliveryOf(spec: DeliverySpec): Delivery {
  const { retry = 0, backoffPolicy, backoffDelay, timeout, retryAfterMax } = spec;
  if (!Number.isInteger(retry) || retry < 0) throw new Error(`retry: ${retry} is no number of retries`);
  if (backoffPolicy && !['linear', 'exponential'].includes(backoffPolicy))
    throw new Error(`backoffPolicy: ${backoffPolicy} is neither linear nor exponential`);
  const hasBackoff = backoffPolicy !== undefined && backoffDelay !== undefined;
  return {
    retry,
    backoffPolicy: backoffPolicy ?? 'linear',
    backoffDelayMs: hasBackoff ? period('backoffDelay', backoffDelay) : 0,
    ...(timeout && period('timeout', timeout) > 0 && { timeoutMs: period('timeout', timeout) }),
    retryAfterMaxMs: retryAfterMax ? period('retryAfterMax', retryAfterMax) : 0,
  };
}

function period(name: string, text: string): number {
  const ms = goPeriodMs(text);
  if (ms === undefined) throw new Error(`${name}: ${text} is no ISO 8601 duration such as PT0.2S`);
  return ms;
}
