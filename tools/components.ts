import { PingSource } from '@kubernetes-models/knative/sources.knative.dev/v1';
import { spreadPods } from './availability.js';
import { brokerComponents, rabbitmqComponent } from './broker-components.js';
import { eventPolicy, eventType } from './event-registry.js';
import { callers, senders } from './identities.js';
import { component, jsonPatch, type Operation } from './kustomize.js';
import type { DeclaredMessage, ModuleMessages } from './module-messages.js';
import { ALLOW_ANONYMOUS, AUDIENCE, AUTH, labels, NAMESPACE, type Workload } from './workloads.js';

/* Components of kustomize for options of a cluster: an overlay lists the ones that it needs. */

const APPLICATION = {
  group: 'serving.knative.dev',
  kind: 'Service',
  labelSelector: 'app.kubernetes.io/component=application',
};
const SERVICES = { group: 'serving.knative.dev', kind: 'Service' };
/** Only the plain Services have this label. */
const REST = { kind: 'Service', labelSelector: 'app.kubernetes.io/component=rest' };
const SPEC = '/spec/template/spec';
/** Replaced, not removed: so `oidc` and `rest-auth` can be listed in any order. */
const [FIRST, SECOND] = [`${SPEC}/containers/0/env/0`, `${SPEC}/containers/0/env/1`];
const ENV = `${SPEC}/containers/0/env/-`;
/** The path at which a SinkBinding mounts the token for the Broker. */
const BROKER_TOKEN = '/oidc/token';
const MESH_VOLUME = '/var/run/mesh';

/** A deployment of all modules. `hostOf` names the workload of a module. */
export interface Variant {
  readonly name: string;
  readonly workloads: readonly Workload[];
  readonly hostOf: (module: string) => string;
}

/** The files of all components. */
export function components(
  variants: readonly Variant[],
  modules: readonly ModuleMessages[],
  declared: readonly DeclaredMessage[],
): [path: string, objects: object[]][] {
  const consumers = modules.filter(({ handles }) => handles.length > 0);
  const access = {
    senders: senders(
      consumers.map(({ module }) => module),
      variants.flatMap(({ workloads }) => workloads.map(({ name }) => name)),
    ),
    callers: callers(modules.map(({ module }) => module)),
  };
  const files: [string, object[]][] = [
    ['demo/kustomization.yaml', [component({ patches: [jsonPatch(APPLICATION, [variable('SEED', 'demo')])] })]],
    ['public/kustomization.yaml', [component({ patches: makePublic })]],
    ['oidc/kustomization.yaml', [component({ patches: oidc(access) })]],
    ['topology-spread/kustomization.yaml', [component({ patches: [jsonPatch(SERVICES, [spreadPods])] })]],
    ['rest-auth/kustomization.yaml', [component({ patches: [jsonPatch(APPLICATION, restAuth)] })]],
    ['event-types/kustomization.yaml', [component({ resources: ['event-types.yaml'] })]],
    ['event-types/event-types.yaml', declared.map(eventType)],
    ...brokerComponents(),
  ];
  const publishers = modules.filter(({ sends }) => sends.length > 0);
  for (const variant of variants) {
    const { name, workloads, hostOf } = variant;
    const guard = guardOf(variant);
    const patches = [guard, jsonPatch(APPLICATION, [scaleToZero])];
    files.push(
      [`scale-to-zero-${name}/kustomization.yaml`, [component({ resources: ['ping.yaml'], patches })]],
      [`scale-to-zero-${name}/ping.yaml`, workloads.map((it) => ping(it.name))],
      [
        `oidc-${name}/kustomization.yaml`,
        [component({ components: ['../oidc'], resources: ['event-policies.yaml'], patches: [guard] })],
      ],
      [`oidc-${name}/event-policies.yaml`, publishers.map((it) => eventPolicy(it, hostOf(it.module)))],
      ...rabbitmqComponent(`rabbitmq-${name}`, consumers, hostOf, guard),
    );
  }
  return files.map(([path, objects]) => [`components/${path}`, objects]);
}

/**
 * Kustomize refuses to build a component with the workloads of another variant: its objects would name a Service that
 * isn't there. Only workloads that host some of the modules have MODULES as their fifth variable.
 */
function guardOf({ workloads: [first, ...more] }: Variant): object {
  const test =
    more.length === 0
      ? { path: '/metadata/name', value: first!.name }
      : { path: `${SPEC}/containers/0/env/4/name`, value: 'MODULES' };
  return jsonPatch(APPLICATION, [{ op: 'test', ...test }]);
}

function variable(name: string, value: string): Operation {
  return { op: 'add', path: ENV, value: { name, value } };
}

/** Kustomize refuses to build without `rest-auth` before it: with AUTH=none the internet could read and change everything. */
const makePublic = [
  jsonPatch(APPLICATION, [{ op: 'test', path: `${SECOND}/name`, value: 'AUTH_ISSUER' }]),
  jsonPatch(REST, [{ op: 'add', path: '/spec/type', value: 'LoadBalancer' }]),
];

const scaleToZero: Operation = {
  op: 'replace',
  path: '/spec/template/metadata/annotations/autoscaling.knative.dev~1min-scale',
  value: '0',
};

/** Wakes a workload that may have unpublished messages: the broker may have been down when it was scaled to zero. */
function ping(workload: string): PingSource {
  const ref = { apiVersion: 'serving.knative.dev/v1', kind: 'Service', name: workload };
  const sink = { ref, uri: '/mesh/flush', audience: AUDIENCE };
  return new PingSource({
    metadata: { name: workload, namespace: NAMESPACE, labels: labels(workload, 'ping') },
    spec: { schedule: '*/10 * * * *', sink },
  });
}

/** The issuer of the users' tokens is not known here. A pod whose ConfigMap is missing doesn't start. */
const restAuth: Operation[] = [
  { op: 'test', path: `${SECOND}/name`, value: AUTH },
  { op: 'replace', path: SECOND, value: fromConfigMap('AUTH_ISSUER', 'issuer') },
  { op: 'add', path: ENV, value: fromConfigMap('AUTH_AUDIENCE', 'audience') },
];

function fromConfigMap(name: string, key: string): object {
  return { name, valueFrom: { configMapKeyRef: { name: 'rest-auth', key } } };
}

/** The issuer is the cluster. Check its name: `kubectl get --raw /.well-known/openid-configuration`. */
const oidc = (access: { senders: string; callers: string }) => [
  jsonPatch(SERVICES, [
    { op: 'test', path: `${FIRST}/name`, value: ALLOW_ANONYMOUS },
    {
      op: 'replace',
      path: FIRST,
      value: { name: 'MESH_OIDC_ISSUER', value: 'https://kubernetes.default.svc.cluster.local' },
    },
    {
      op: 'add',
      path: `${SPEC}/volumes/-`,
      value: {
        name: 'mesh',
        projected: {
          sources: [
            { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
            { serviceAccountToken: { audience: AUDIENCE, expirationSeconds: 3600, path: 'token' } },
          ],
        },
      },
    },
    {
      op: 'add',
      path: `${SPEC}/containers/0/volumeMounts/-`,
      value: { name: 'mesh', mountPath: MESH_VOLUME, readOnly: true },
    },
    variable('MESH_OIDC_JWKS', 'https://kubernetes.default.svc/openid/v1/jwks'),
    variable('MESH_OIDC_AUDIENCE', AUDIENCE),
    variable('MESH_OIDC_SUBJECTS', access.senders),
    variable('MESH_OIDC_CALLERS', access.callers),
    variable('NODE_EXTRA_CA_CERTS', `${MESH_VOLUME}/ca.crt`),
  ]),
  jsonPatch(APPLICATION, [
    variable('MESH_OIDC_TOKEN_FILE', BROKER_TOKEN),
    variable('MESH_OIDC_QUERY_TOKEN_FILE', `${MESH_VOLUME}/token`),
  ]),
  // This process sends no messages to a Broker: it replays dead letters to the consumers directly.
  jsonPatch({ ...SERVICES, name: 'dead-letters' }, [variable('MESH_OIDC_TOKEN_FILE', `${MESH_VOLUME}/token`)]),
];
