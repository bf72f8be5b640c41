import { BROKER, trigger, triggersByType, type Consumer } from './eventing.js';
import { component, mergePatch } from './kustomize.js';
import { CABS, labels, NAMESPACE, POD_SECURITY } from './workloads.js';

/*
 * Components of kustomize for the classes of Brokers. The class of a Broker can't be changed, so an overlay chooses one
 * before the first start.
 */

type File = [path: string, objects: object[]];

const BROKERS = { group: 'eventing.knative.dev', kind: 'Broker' };
const TRIGGERS = { group: 'eventing.knative.dev', kind: 'Trigger' };
const CHANNEL = 'in-memory-channel';
/** The RabbitmqCluster of the cluster operator, in the namespace of the application. */
const RABBITMQ = 'rabbitmq';
/** The pods of RabbitMQ and of its Broker run in the namespace of the application, and not all versions are `restricted`. */
const podSecurity = mergePatch(
  { kind: 'Namespace' },
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels: { [POD_SECURITY]: 'baseline' } } },
);
/** Messages of one Trigger that RabbitMQ delivers at a time, up to 1000. With 1, a failing message stops its Trigger. */
const RABBITMQ_PARALLELISM = 100;

/** The components that fit every variant. */
export function brokerComponents(): File[] {
  return [
    ['kafka/kustomization.yaml', [component({ patches: [kafkaBroker, orderedTriggers] })]],
    ...inMemory('in-memory-sync', false),
    ...inMemory('in-memory-async', true),
  ];
}

const kafkaBroker = brokerOfClass('Kafka', {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  name: 'kafka-broker-config',
  namespace: 'knative-eventing',
});

/** Delivers the messages of a partition one after the other. The partition key of our events chooses the partition. */
const orderedTriggers = annotated(TRIGGERS, { 'kafka.eventing.knative.dev/delivery.order': 'ordered' });

/**
 * The in-memory channel, also where the cluster has another default channel.
 * @param isAsync whether the Broker answers 202 before it delivers; Knative 1.17 or later reads the annotation
 */
function inMemory(name: string, isAsync: boolean): File[] {
  const config = { apiVersion: 'v1', kind: 'ConfigMap', name: CHANNEL, namespace: NAMESPACE };
  const annotations = { 'messaging.knative.dev/async-handler': String(isAsync) };
  const channel = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: CHANNEL, namespace: NAMESPACE, labels: labels(BROKER.name, 'broker') },
    data: { 'channel-template-spec': 'apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\n' },
  };
  const patches = [brokerOfClass('MTChannelBasedBroker', config, annotations)];
  return [
    [`${name}/kustomization.yaml`, [component({ resources: ['channel.yaml'], patches })]],
    [`${name}/channel.yaml`, [channel]],
  ];
}

/**
 * The RabbitMQ Broker for one variant. It ignores `filters`, so one Trigger per type takes the place of each module's.
 * @param hostOf the workload of a module
 * @param guard a patch that fails with another variant
 */
export function rabbitmqComponent(
  folder: string,
  consumers: readonly Consumer[],
  hostOf: (module: string) => string,
  guard: object,
) {
  const config = {
    apiVersion: 'eventing.knative.dev/v1alpha1',
    kind: 'RabbitmqBrokerConfig',
    metadata: { name: RABBITMQ, namespace: NAMESPACE, labels: labels(BROKER.name, 'broker') },
    spec: { rabbitmqClusterReference: { name: RABBITMQ, namespace: NAMESPACE }, queueType: 'quorum' },
  };
  const reference = { apiVersion: config.apiVersion, kind: config.kind, name: RABBITMQ, namespace: NAMESPACE };
  const triggers = consumers.flatMap((it) => triggersByType(CABS, it, hostOf(it.module)));
  const replaced = consumers.map((it) => trigger(CABS, it, hostOf(it.module)).metadata.name);
  const patches = [
    guard,
    brokerOfClass('RabbitMQBroker', reference),
    mergePatch({ ...TRIGGERS, name: replaced.join('|') }, { ...identity(TRIGGERS), $patch: 'delete' }),
    annotated(TRIGGERS, { 'rabbitmq.eventing.knative.dev/parallelism': String(RABBITMQ_PARALLELISM) }),
    podSecurity,
  ];
  const files: File[] = [
    [`${folder}/kustomization.yaml`, [component({ resources: ['config.yaml', 'triggers.yaml'], patches })]],
    [`${folder}/config.yaml`, [config]],
    [`${folder}/triggers.yaml`, triggers],
  ];
  return files;
}

function brokerOfClass(brokerClass: string, config: object, more: Record<string, string> = {}): object {
  const annotations = { 'eventing.knative.dev/broker.class': brokerClass, ...more };
  return mergePatch(BROKERS, { ...identity(BROKERS, annotations), spec: { config } });
}

function annotated(target: typeof BROKERS, annotations: Record<string, string>): object {
  return mergePatch(target, identity(target, annotations));
}

/** The fields that kustomize expects in every merge patch. It ignores the name, because the target selects. */
function identity({ group, kind }: typeof BROKERS, annotations?: Record<string, string>) {
  return {
    apiVersion: `${group}/v1`,
    kind,
    metadata: { name: 'any', ...(annotations && { annotations }) },
  };
}
