import { compile, type Filter, type FilterSpec } from './filters.js';
import { goPeriodMs } from './go-values.js';
import { readResources } from './manifest-files.js';
import {
  BadManifest,
  brokerSpec,
  metadata,
  oneLine,
  parseField,
  text,
  triggerSpec,
  type DeliverySpec,
  type Reference,
  type TriggerSpec,
} from './manifest-schema.js';

/** The Brokers and Triggers of a folder such as `deploy/knative/monolith`. Other kinds are ignored. */
export interface Manifests {
  /** Names as `<namespace>/<name>`. */
  readonly brokers: readonly string[];
  readonly triggers: readonly TriggerManifest[];
}

export interface TriggerManifest {
  readonly name: string;
  readonly namespace: string;
  /** `<namespace>/<name>`. */
  readonly broker: string;
  readonly matches: Filter;
  /** The filter as text for people. */
  readonly filterText: string;
  readonly subscriber: Destination;
  readonly delivery: Delivery;
  readonly deadLetterSink?: Destination;
}

/** An address, or a Service whose address is passed by `--service`. */
export interface Destination {
  readonly service?: string;
  /** Absolute without a service, otherwise relative to the service. */
  readonly uri?: string;
}

/** A delivery spec, in ms. */
export interface Delivery {
  readonly retry: number;
  readonly backoffPolicy: 'linear' | 'exponential';
  /** 0 for immediate retries: the policy or the delay is missing. */
  readonly backoffDelayMs: number;
  readonly timeoutMs?: number;
  /** 0 when `Retry-After` is ignored. */
  readonly retryAfterMaxMs: number;
}

/**
 * Reads every YAML file of a folder.
 * @throws BadManifest
 */
export function readManifests(folder: string): Manifests {
  const resources = readResources(folder);
  // `kubectl apply -k` puts all resources into the namespace of the kustomization.
  const kustomization = resources.find(({ resource }) => resource.kind === 'Kustomization');
  const common =
    kustomization && parseField(text, kustomization.resource.namespace, `${kustomization.file}: namespace`);
  const brokers = new Map<string, DeliverySpec>();
  const triggers: (Named & { file: string; spec: unknown })[] = [];
  for (const { file, resource } of resources) {
    const { apiVersion, kind, spec } = resource;
    if (apiVersion !== 'eventing.knative.dev/v1') continue;
    const { name, namespace = common || 'default' } = parseField(
      metadata,
      resource.metadata ?? {},
      `${file}: metadata`,
    );
    if (!name) throw new BadManifest(`${file}: a ${oneLine(kind)} without a name`);
    if (kind === 'Broker') {
      const where = `${file}: Broker ${oneLine(name)}: spec`;
      brokers.set(`${namespace}/${name}`, parseField(brokerSpec, spec, where)?.delivery ?? {});
    }
    if (kind === 'Trigger') triggers.push({ file, name, namespace, spec });
  }
  if (brokers.size === 0) throw new BadManifest(`${folder}: no YAML file contains a Broker`);
  return {
    brokers: [...brokers.keys()],
    triggers: triggers.map(({ file, spec, ...named }) => {
      const where = `${file}: Trigger ${oneLine(named.name)}`;
      const read = parseField(triggerSpec, spec, `${where}: spec`) ?? {};
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

function trigger({ name, namespace }: Named, spec: TriggerSpec, brokers: Map<string, DeliverySpec>): TriggerManifest {
  const { broker: of = 'default', subscriber, delivery, filter, filters } = spec;
  const wanted = filterSpec(filter, filters);
  const broker = `${namespace}/${of}`;
  const inherited = brokers.get(broker);
  if (!inherited) throw new Error(`there is no Broker ${oneLine(broker)}`);
  if (!subscriber) throw new Error('it has no subscriber');
  // The Trigger's delivery replaces that of the Broker as a whole; only a missing dead letter sink is inherited.
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

/** Most Triggers filter by type only, so the type is shown without its name. */
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
  if (!Number.isInteger(retry) || retry < 0) throw new Error(`retry: ${retry} is no integer of at least 0`);
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
