import { Broker, Trigger } from '@kubernetes-models/knative/eventing.knative.dev/v1';
import { SinkBinding } from '@kubernetes-models/knative/sources.knative.dev/v1';
import { BROKER_DELIVERY } from '../src/infrastructure/policies.js';
import type { ModuleMessages } from './module-messages.js';
import { AUDIENCE, labels, NAMESPACE } from './workloads.js';

/* The Broker, and who gets which messages from it: Triggers and SinkBindings. */

export const BROKER = { apiVersion: 'eventing.knative.dev/v1', kind: 'Broker', name: 'default' } as const;
export const DEAD_LETTERS = 'dead-letters';

/** A module, and the types of the messages that it handles. */
export type Consumer = Pick<ModuleMessages, 'module' | 'handles'>;

/** The Broker, of the cluster's default class. Triggers inherit its delivery. */
export function broker(): Broker {
  const { retry, backoffPolicy, backoffDelayMs, timeoutMs } = BROKER_DELIVERY;
  const delivery = {
    retry,
    backoffPolicy,
    backoffDelay: `PT${backoffDelayMs / 1000}S`,
    timeout: `PT${timeoutMs / 1000}S`,
    deadLetterSink: destination(DEAD_LETTERS, '/mesh/dead-letters'),
  };
  return new Broker({ metadata: { name: BROKER.name, namespace: NAMESPACE }, spec: { delivery } });
}

/**
 * The Trigger of a module. The Broker compares each event with each Trigger, so one Trigger per module costs less than
 * one per type: with Knative 1.18.4 the Broker took 28 ms of CPU time for a ride instead of 60 ms.
 * @throws Error when the module's name can't be the name of a Trigger
 */
export function trigger({ module, handles }: Consumer, host: string): Trigger {
  const filters = [{ any: handles.map((type) => ({ exact: { type } })) }];
  return triggerNamed(module, { module, host, filter: { filters } });
}

/**
 * One Trigger for each type, with the older filter: the RabbitMQ Broker ignores `filters` and would deliver every event
 * to every module.
 * @throws Error when two types have the same name, or a type can't be the name of a Trigger
 */
export function triggersByType({ module, handles }: Consumer, host: string): Trigger[] {
  const names = new Set<string>();
  return handles.map((type) => {
    const name = nameOfType(module, type);
    if (names.has(name)) throw new Error(`Two Triggers have the same name ${name}`);
    names.add(name);
    return triggerNamed(name, { module, host, filter: { filter: { attributes: { type } } } });
  });
}

/** @param options `filter` is the field of the spec that selects events; the models don't know `filters` yet */
function triggerNamed(name: string, { module, host, filter }: { module: string; host: string; filter: object }) {
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) throw new Error(`${name} can't be the name of a Trigger`);
  return new Trigger({
    metadata: { name, namespace: NAMESPACE, labels: labels(module, 'trigger') },
    spec: { broker: BROKER.name, ...filter, subscriber: destination(host, `/mesh/${module}`) },
  });
}

/** `cabs.drivers.calculate-fee` to drivers: `drivers-calculate-fee`; to others: `<module>-drivers-calculate-fee`. */
function nameOfType(module: string, type: string): string {
  const [, owner = '', ...rest] = type.split('.');
  return [module, ...(owner === module ? [] : [owner]), ...rest].join('-');
}

/** The models don't know `audience` yet. With OIDC it is the audience of the Broker's tokens. */
function destination(name: string, uri: string) {
  return { ref: { apiVersion: 'serving.knative.dev/v1', kind: 'Service', name }, uri, audience: AUDIENCE };
}

/** A SinkBinding sets K_SINK in a workload, and K_CA_CERTS and a token if the Broker requires them. */
export function binding(workload: string): SinkBinding {
  return new SinkBinding({
    metadata: { name: workload, namespace: NAMESPACE, labels: labels(workload, 'binding') },
    spec: {
      subject: { apiVersion: 'serving.knative.dev/v1', kind: 'Service', name: workload },
      sink: { ref: BROKER },
    },
  });
}
