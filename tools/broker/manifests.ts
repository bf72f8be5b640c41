import { deliveryOf, destination, type Delivery, type Destination } from './delivery-spec.js';
import { API_VERSION, eventingResources, isCurrent, type EventingResource } from './eventing-resources.js';
import { compile, type Filter, type FilterSpec } from './filters.js';
import {
  BadManifest,
  brokerSpec,
  NotSupported,
  oneLine,
  parseField,
  triggerSpec,
  type DeliverySpec,
  type TriggerSpec,
} from './manifest-schema.js';

/** The Brokers and Triggers of a folder such as `deploy/knative/monolith`. Other kinds are ignored. */
export interface Manifests {
  /** Names as `<namespace>/<name>`. */
  readonly brokers: readonly string[];
  readonly triggers: readonly TriggerManifest[];
  /** One line for each Broker, Trigger or dead letter sink that is left out, with its file, its name and the reason. */
  readonly warnings: readonly string[];
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

interface BrokerManifest {
  readonly delivery: Delivery;
  readonly deadLetterSink?: Destination;
}

/**
 * Reads every YAML file of a folder. What is valid on a cluster but can't be served here is left out with a warning.
 * @throws BadManifest for a file that Kubernetes or Knative would refuse, and for a folder without a Broker
 */
export function readManifests(folder: string): Manifests {
  const warnings: string[] = [];
  const brokers = new Map<string, BrokerManifest>();
  const triggers: TriggerManifest[] = [];
  const leftOut = new Set<string>();
  const resources = eventingResources(folder);
  const current = resources.filter(isCurrent);
  for (const { kind, where, namespace, name } of resources.filter((it) => !isCurrent(it))) {
    warnings.push(`${where} is left out: Knative serves only ${API_VERSION} since 0.24, so change its apiVersion`);
    if (kind === 'Broker') leftOut.add(`${namespace}/${name}`);
  }
  const warnOfSink = (where: string) => (reason: string) =>
    void warnings.push(`${where}: ${reason}. It is treated as if it had no dead letter sink`);
  for (const { where, namespace, name, spec } of current.filter(({ kind }) => kind === 'Broker')) {
    const { delivery = {} } = parseField(brokerSpec, spec, `${where}: spec`) ?? {};
    const read = () => deliveryTerms(delivery, warnOfSink(where));
    brokers.set(`${namespace}/${name}`, namingErrors(where, read));
  }
  if (brokers.size === 0) {
    const others = warnings.length > 0 ? `; ${warnings.join('; ')}` : '';
    throw new BadManifest(`${folder}: no YAML file contains a Broker of ${API_VERSION}${others}`);
  }
  for (const resource of current.filter(({ kind }) => kind === 'Trigger')) {
    const { where } = resource;
    const spec = parseField(triggerSpec, resource.spec, `${where}: spec`) ?? {};
    try {
      triggers.push(namingErrors(where, () => trigger(resource, spec, brokers, leftOut, warnOfSink(where))));
    } catch (error) {
      if (!(error instanceof NotSupported)) throw error;
      warnings.push(`${where} is left out: ${error.message}`);
    }
  }
  if (triggers.length === 0)
    warnings.push(`${folder}: no Trigger is left, so the broker accepts events but delivers none`);
  return { brokers: [...brokers.keys()], triggers, warnings };
}

/** @throws BadManifest in place of other errors, with the file, kind and name in its message */
function namingErrors<Result>(where: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof NotSupported) throw error;
    throw new BadManifest(`${where}: ${(error as Error).message.split('\n')[0]}`);
  }
}

function trigger(
  { name, namespace }: EventingResource,
  spec: TriggerSpec,
  brokers: ReadonlyMap<string, BrokerManifest>,
  leftOut: ReadonlySet<string>,
  onUnsupportedSink: (reason: string) => void,
): TriggerManifest {
  const { broker: of = 'default', brokerRef, subscriber, delivery, filter, filters } = spec;
  if (brokerRef) throw new NotSupported('the laptop broker does not read brokerRef; use broker, in one namespace');
  const wanted = filterSpec(filter, filters);
  const broker = `${namespace}/${of}`;
  const inherited = brokers.get(broker);
  if (!inherited && leftOut.has(broker)) throw new NotSupported(`its Broker ${oneLine(broker)} is left out, too`);
  if (!inherited) throw new Error(`there is no Broker ${oneLine(broker)}`);
  if (!subscriber) throw new Error('it has no subscriber');
  return {
    name,
    namespace,
    broker,
    matches: compile(wanted),
    filterText: describe(wanted),
    subscriber: destination(subscriber, 'subscriber'),
    // The Trigger's delivery replaces that of the Broker as a whole; only a missing dead letter sink is inherited.
    ...inherited,
    ...(delivery && deliveryTerms(delivery, onUnsupportedSink)),
  };
}

function deliveryTerms(spec: DeliverySpec, onUnsupportedSink: (reason: string) => void): BrokerManifest {
  const sink = spec.deadLetterSink;
  if (!sink) return { delivery: deliveryOf(spec) };
  try {
    return { delivery: deliveryOf(spec), deadLetterSink: destination(sink, 'dead letter sink') };
  } catch (error) {
    if (!(error instanceof NotSupported)) throw error;
    onUnsupportedSink(error.message);
    return { delivery: deliveryOf(spec), deadLetterSink: undefined };
  }
}

function filterSpec(filter: { attributes?: Record<string, string> } | undefined, filters: FilterSpec['filters']) {
  const { attributes } = filter ?? {};
  return { ...(attributes && { filter: { attributes } }), ...(filters && { filters }) };
}

/** Most Triggers filter by type only, so the types are shown without the rest of the filter. */
function describe({ filter, filters }: FilterSpec): string {
  if (filters && filters.length > 0) return typesOf(filters)?.join(', ') ?? JSON.stringify(filters);
  const { type, ...others } = filter?.attributes ?? {};
  const more = Object.keys(others).length > 0 ? JSON.stringify(others) : '';
  return [type, more].filter(Boolean).join(' ') || 'everything';
}

/** The types of a filter that matches any of several types, as the generated Triggers have it. */
function typesOf([filter, ...more]: readonly Record<string, unknown>[]): string[] | undefined {
  if (more.length > 0 || !Array.isArray(filter?.any)) return undefined;
  const alternatives = filter.any as { exact?: Record<string, unknown> }[];
  const types = alternatives.map(({ exact = {} }) => (Object.keys(exact).length === 1 ? exact.type : undefined));
  return types.every((it) => typeof it === 'string') ? types : undefined;
}
