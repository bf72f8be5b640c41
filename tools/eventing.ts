import { Broker, Trigger } from '@kubernetes-models/knative/eventing.knative.dev/v1';
import { SinkBinding } from '@kubernetes-models/knative/sources.knative.dev/v1';
import { AUDIENCE, labels, NAMESPACE } from './workloads.js';

/* The Broker, and who gets which messages from it: Triggers and SinkBindings. */

const BROKER = 'default';
export const DEAD_LETTERS = 'dead-letters';

/** A module, and the types of the messages that it handles. */
export interface Consumer {
  readonly module: string;
  readonly types: readonly string[];
}

/** The Broker, of the cluster's default class. Triggers inherit its delivery. */
export function broker(): Broker {
  const delivery = {
    retry: 10,
    backoffPolicy: 'exponential',
    backoffDelay: 'PT0.2S',
    // Longer than the longest attempt of the receiver, so that the receiver answers with the reason of a failure: after a
    // timeout of the Broker the dead letter has no reason.
    timeout: 'PT60S',
    deadLetterSink: destination(DEAD_LETTERS, '/mesh/dead-letters'),
  };
  return new Broker({ metadata: { name: BROKER, namespace: NAMESPACE }, spec: { delivery } });
}

/** One Trigger for each type, so that each has its own retries and can be inspected and paused alone. */
export function triggers({ module, types }: Consumer, host: string): Trigger[] {
  const names = new Set<string>();
  return types.map((type) => {
    const name = triggerName(module, type);
    if (names.has(name)) throw new Error(`Two Triggers have the same name ${name}`);
    names.add(name);
    return new Trigger({
      metadata: { name, namespace: NAMESPACE, labels: labels(module, 'trigger') },
      spec: {
        broker: BROKER,
        // This filter is supported by every class of broker, old and new.
        filter: { attributes: { type } },
        subscriber: destination(host, `/mesh/${module}`),
      },
    });
  });
}

/** `cabs.drivers.calculate-fee` to drivers: `drivers-calculate-fee`; to others: `<module>-drivers-calculate-fee`. */
function triggerName(module: string, type: string): string {
  const [, owner = '', ...rest] = type.split('.');
  const name = [module, ...(owner === module ? [] : [owner]), ...rest].join('-');
  if (!/^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$/.test(name))
    throw new Error(`${type} can't be the name of a Trigger: ${name}`);
  return name;
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
      sink: { ref: { apiVersion: 'eventing.knative.dev/v1', kind: 'Broker', name: BROKER } },
    },
  });
}
