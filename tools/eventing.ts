import type { Type } from '@nestjs/common';
import { consumersByType, meshFeatureOf } from '../src/infrastructure/contracts/mesh-feature.js';
import { BROKER_DELIVERY } from '../src/infrastructure/policies.js';
import { toYaml } from './manifest-folder.js';

/* The Broker, and who gets which messages from it: Triggers and SinkBindings. */

const EVENTING = 'eventing.knative.dev/v1';
const SERVING = 'serving.knative.dev/v1';
export const BROKER = { apiVersion: EVENTING, kind: 'Broker', name: 'default' } as const;

/** Where the objects of an application are. */
export interface Place {
  readonly namespace: string;
  /** The application, for the label `app.kubernetes.io/part-of`. */
  readonly partOf: string;
  /** With OIDC, the audience of the Broker's tokens. */
  readonly audience?: string;
}

/** A module, and the types of the messages that it handles. */
export interface Consumer {
  readonly module: string;
  readonly handles: readonly string[];
}

/** The Broker, of the cluster's default class. Triggers inherit its delivery. @param deadLetters a Service */
export function broker(place: Place, deadLetters: string) {
  const { retry, backoffPolicy, backoffDelayMs, timeoutMs } = BROKER_DELIVERY;
  const delivery = {
    retry,
    backoffPolicy,
    backoffDelay: `PT${backoffDelayMs / 1000}S`,
    timeout: `PT${timeoutMs / 1000}S`,
    deadLetterSink: destination(place, deadLetters, '/mesh/dead-letters'),
  };
  const { name, ...type } = BROKER;
  return { ...type, metadata: { name, namespace: place.namespace }, spec: { delivery } };
}

/**
 * The Trigger of a module. The Broker compares each event with each Trigger, so one Trigger per module costs less than
 * one per type: with Knative 1.18.4 the Broker took 28 ms of CPU time for a ride instead of 60 ms.
 * @throws Error when the module's name can't be the name of a Trigger
 */
export function trigger(place: Place, { module, handles }: Consumer, host: string) {
  const filters = [{ any: handles.map((type) => ({ exact: { type } })) }];
  return triggerNamed(place, module, { module, host, filter: { filters } });
}

/**
 * One Trigger for each type, with the older filter: the RabbitMQ Broker ignores `filters` and would deliver every event
 * to every module.
 * @throws Error when two types have the same name, or a type can't be the name of a Trigger
 */
export function triggersByType(place: Place, { module, handles }: Consumer, host: string) {
  const names = new Set<string>();
  return handles.map((type) => {
    const name = nameOfType(module, type);
    if (names.has(name)) throw new Error(`Two Triggers have the same name ${name}`);
    names.add(name);
    return triggerNamed(place, name, { module, host, filter: { filter: { attributes: { type } } } });
  });
}

/** @param options `filter` is the field of the spec that selects events */
function triggerNamed(
  place: Place,
  name: string,
  { module, host, filter }: { module: string; host: string; filter: object },
) {
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) throw new Error(`${name} can't be the name of a Trigger`);
  return {
    apiVersion: EVENTING,
    kind: 'Trigger',
    metadata: { name, namespace: place.namespace, labels: labels(place, module, 'trigger') },
    spec: { broker: BROKER.name, ...filter, subscriber: destination(place, host, `/mesh/${module}`) },
  };
}

/** `cabs.drivers.calculate-fee` to drivers: `drivers-calculate-fee`; to others: `<module>-drivers-calculate-fee`. */
function nameOfType(module: string, type: string): string {
  const [, owner = '', ...rest] = type.split('.');
  return [module, ...(owner === module ? [] : [owner]), ...rest].join('-');
}

function destination({ audience }: Place, name: string, uri: string) {
  return { ref: { apiVersion: SERVING, kind: 'Service', name }, uri, ...(audience && { audience }) };
}

/** A SinkBinding sets K_SINK in a workload, and K_CA_CERTS and a token if the Broker requires them. */
export function binding(place: Place, workload: string) {
  return {
    apiVersion: 'sources.knative.dev/v1',
    kind: 'SinkBinding',
    metadata: { name: workload, namespace: place.namespace, labels: labels(place, workload, 'binding') },
    spec: {
      subject: { apiVersion: SERVING, kind: 'Service', name: workload },
      sink: { ref: BROKER },
    },
  };
}

export function labels({ partOf }: Place, name: string, component: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': name,
    'app.kubernetes.io/component': component,
    'app.kubernetes.io/part-of': partOf,
  };
}

/** The Knative Services of an application. */
interface Services {
  /** The one that hosts a module. */
  readonly hostOf: (module: string) => string;
  /** The one that stores the dead letters of the Broker. */
  readonly deadLetters: string;
}

/**
 * The Broker, Triggers and SinkBindings of an application, as files of a flat folder, by their names.
 * @param modules with `@MeshFeature`
 */
export function eventingManifests(modules: readonly Type[], place: Place, services: Services): Map<string, string> {
  const { hostOf, deadLetters } = services;
  const consumers = consumersOf(modules);
  const hosts = [...new Set(modules.map((it) => hostOf(meshFeatureOf(it).name)))].sort();
  const files: [string, object][] = [
    ['broker.yaml', broker(place, deadLetters)],
    ...hosts.map((it): [string, object] => [`${it}-binding.yaml`, binding(place, it)]),
    ...consumers.map((it): [string, object] => [`${it.module}-trigger.yaml`, trigger(place, it, hostOf(it.module))]),
  ];
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: files.map(([file]) => file),
  };
  return new Map([['kustomization.yaml', kustomization] as const, ...files].map(([file, it]) => [file, toYaml([it])]));
}

/** The modules that handle messages, with the types in alphabetical order. */
function consumersOf(modules: readonly Type[]): Consumer[] {
  const types = consumersByType(modules);
  return modules.flatMap((it) => {
    const { name } = meshFeatureOf(it);
    const handles = [...types].filter(([, consumers]) => consumers.includes(name)).map(([type]) => type);
    return handles.length > 0 ? [{ module: name, handles: handles.sort() }] : [];
  });
}
