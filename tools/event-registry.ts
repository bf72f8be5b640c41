import { schemaOf } from '../src/infrastructure/cloudevents/mapping.js';
import { sourceOf } from '../src/infrastructure/contracts/permissions.js';
import { BROKER } from './eventing.js';
import type { DeclaredMessage, ModuleMessages } from './module-messages.js';
import { labels, NAMESPACE } from './workloads.js';

/* What the Broker carries, for people and portals (EventTypes), and who may send it (EventPolicies). */

/** The application's name in sources and schemas. */
const APPLICATION = 'cabs';

/** An attribute of an EventType. `{}` in a value stands for any text. */
interface Attribute {
  readonly name: string;
  readonly required: boolean;
  readonly value?: string;
}

/** An EventType of Knative 1.14 or later. Its spec is immutable. */
export function eventType({ type, sentence, senders: [sender, ...others] }: DeclaredMessage): object {
  const source = sender && others.length === 0 ? sender : '{module}';
  const attributes: Attribute[] = [
    { name: 'specversion', required: true, value: '1.0' },
    { name: 'id', required: true },
    { name: 'source', required: true, value: sourceOf(APPLICATION, source) },
    { name: 'type', required: true, value: type },
    { name: 'subject', required: true },
    { name: 'datacontenttype', required: true, value: 'application/json' },
    { name: 'dataschema', required: true, value: schemaOf(APPLICATION, type) },
    { name: 'partitionkey', required: false },
  ];
  return {
    apiVersion: 'eventing.knative.dev/v1beta3',
    kind: 'EventType',
    metadata: { name: type, namespace: NAMESPACE, labels: labels(type.split('.')[1] ?? type, 'event-type') },
    spec: { reference: BROKER, ...(sentence && { description: sentence }), attributes },
  };
}

/**
 * Lets a module publish the types that the contracts let it send, under its own source only; needs Knative 1.16. As soon as one
 * policy applies to the Broker, all other senders are refused with 403.
 * @param host the workload of the module, whose SinkBinding owns the token
 */
export function eventPolicy({ module, sends }: ModuleMessages, host: string): object {
  return {
    apiVersion: 'eventing.knative.dev/v1alpha1',
    kind: 'EventPolicy',
    metadata: { name: module, namespace: NAMESPACE, labels: labels(module, 'event-policy') },
    spec: {
      to: [{ ref: BROKER }],
      from: [{ ref: { apiVersion: 'sources.knative.dev/v1', kind: 'SinkBinding', name: host, namespace: NAMESPACE } }],
      filters: [
        { exact: { source: sourceOf(APPLICATION, module) } },
        { any: sends.map((type) => ({ exact: { type } })) },
      ],
    },
  };
}
