import 'reflect-metadata';
import { overlay } from '../support/kustomize.js';
import { objectsOf, VARIANTS, type PodSpec } from '../support/manifests.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- objects of Kubernetes, read back from YAML */

const LABEL = 'pod-security.kubernetes.io/enforce';
/** https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted */
const VOLUMES = [
  ...['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'persistentVolumeClaim', 'projected', 'secret'],
];

/** The fields that the standard `restricted` is about. */
interface CheckedPod {
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
  readonly volumes?: readonly object[];
  readonly containers: readonly CheckedContainer[];
  readonly initContainers?: readonly CheckedContainer[];
}
interface CheckedContainer {
  readonly ports?: readonly { readonly hostPort?: number }[];
  readonly securityContext?: {
    readonly privileged?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly runAsNonRoot?: boolean;
    readonly runAsUser?: number;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
    readonly seccompProfile?: { readonly type: string };
  };
}

/** The pods of Services and Jobs, with the name of their object. */
const podsIn = (all: any[]): [name: string, pod: PodSpec][] =>
  all
    .filter(({ apiVersion, kind }) => kind === 'Job' || (kind === 'Service' && apiVersion !== 'v1'))
    .map(({ kind, metadata, spec }) => [`${kind} ${metadata.name}`, spec.template.spec]);

/** What the Pod Security Standard `restricted` forbids in a pod. The context of the pod is left out: Knative has none. */
function violations(pod: CheckedPod): string[] {
  const found: string[] = (['hostNetwork', 'hostPID', 'hostIPC'] as const).filter((field) => pod[field]);
  const kinds = (pod.volumes ?? []).flatMap((it) => Object.keys(it).filter((key) => key !== 'name'));
  found.push(...kinds.filter((it) => !VOLUMES.includes(it)));
  for (const { securityContext = {}, ports = [] } of [...pod.containers, ...(pod.initContainers ?? [])]) {
    const { privileged, allowPrivilegeEscalation, runAsNonRoot, runAsUser, seccompProfile } = securityContext;
    const { drop = [], add = [] } = securityContext.capabilities ?? {};
    const rules = {
      privileged: !privileged,
      hostPort: ports.every(({ hostPort }) => !hostPort),
      allowPrivilegeEscalation: allowPrivilegeEscalation === false,
      runAsNonRoot: runAsNonRoot === true,
      runAsUser: runAsUser !== 0,
      drop: drop.includes('ALL'),
      add: add.every((it) => it === 'NET_BIND_SERVICE'),
      seccompProfile: ['RuntimeDefault', 'Localhost'].includes(seccompProfile?.type ?? ''),
    };
    found.push(...Object.entries(rules).flatMap(([rule, holds]) => (holds ? [] : [rule])));
  }
  return found;
}

describe.each(VARIANTS)('The manifests of %s', (variant) => {
  const base = objectsOf(variant);
  const services = objectsOf(variant, 'Service');

  it('want pods of the standard restricted, and have only such', () => {
    const [namespace] = objectsOf(variant, 'Namespace');
    expect(namespace.metadata.labels[LABEL]).toBe('restricted');
    const all = [...podsIn(base), ...podsIn(overlay(variant, 'oidc', 'topology-spread'))];
    expect(all.length).toBeGreaterThan(6);
    for (const [name, pod] of all) expect([name, ...violations(pod)]).toEqual([name]);
  });

  it('allow the pods of RabbitMQ in the namespace, which are not restricted', () => {
    const [namespace] = overlay(variant, `rabbitmq-${variant}`).filter(({ kind }) => kind === 'Namespace');
    expect(namespace.metadata.labels).toMatchObject({ [LABEL]: 'baseline', 'bindings.knative.dev/include': 'true' });
  });

  it('give pods their secrets as files that only the container of the application mounts', () => {
    for (const [name, { containers, volumes }] of podsIn(base)) {
      const { env, volumeMounts } = containers[0]!;
      expect(env.filter(({ valueFrom }) => valueFrom)).toEqual([]);
      expect(env.map((it) => it.name)).toContain('DATABASE_URL_FILE');
      expect(env.some((it) => it.name === 'MESH_ADMIN_TOKEN_FILE')).toBe(name.startsWith('Service'));
      expect(volumeMounts).toEqual([{ name: 'secrets', mountPath: '/etc/cabs', readOnly: true }]);
      // The user of the container owns no file, so all users may read.
      expect(volumes.map(({ projected }) => projected.defaultMode)).toEqual([0o444]);
    }
  });

  it('give each pod a service account that exists, and none of its tokens', () => {
    const accounts = objectsOf(variant, 'ServiceAccount').map(({ metadata }) => metadata.name);
    for (const [name, { serviceAccountName, automountServiceAccountToken }] of podsIn(base)) {
      expect(accounts).toContain(serviceAccountName);
      expect(automountServiceAccountToken).toBe(false);
      expect(serviceAccountName === 'database-migration').toBe(name.startsWith('Job'));
    }
    // The Jobs are applied before the rest, selected by this label.
    const selected = base.filter(({ metadata }) => metadata?.labels?.['app.kubernetes.io/component'] === 'migration');
    expect(new Set(selected.map(({ kind }) => kind))).toEqual(new Set(['ServiceAccount', 'Job']));
  });

  it('let a drain of nodes evict one pod of each Service at a time, also the only one', () => {
    const budgets = objectsOf(variant, 'PodDisruptionBudget');
    expect(budgets.map(({ spec }) => spec.selector.matchLabels['serving.knative.dev/service']).sort()).toEqual(
      services.map(({ metadata }) => metadata.name).sort(),
    );
    for (const { spec } of budgets) expect(spec).toMatchObject({ maxUnavailable: 1 });
  });

  it('spread pods with a component only, because Knative refuses the field without a flag', () => {
    for (const [, pod] of podsIn(base)) expect(pod).not.toHaveProperty('topologySpreadConstraints');
    const spread = podsIn(overlay(variant, 'topology-spread')).filter(([name]) => name.startsWith('Service'));
    expect(spread).toHaveLength(services.length);
    for (const [, { topologySpreadConstraints: constraints = [] }] of spread) {
      expect(constraints.map(({ topologyKey }) => topologyKey)).toEqual([
        'kubernetes.io/hostname',
        'topology.kubernetes.io/zone',
      ]);
      // Kubernetes forbids one key in both.
      for (const { labelSelector, matchLabelKeys } of constraints) {
        expect(labelSelector.matchExpressions.map(({ key }) => key)).not.toEqual(matchLabelKeys);
      }
    }
  });
});

describe('The check of pods', () => {
  const pod = podsIn(objectsOf('monolith'))[0]![1];
  const [container] = pod.containers;
  const withContext = (change: object) => ({
    ...pod,
    containers: [{ ...container, securityContext: { ...container!.securityContext, ...change } }],
  });

  it.each([
    ['a missing context', { ...pod, containers: [{}] }, 'runAsNonRoot'],
    ['a second container', { ...pod, initContainers: [{}] }, 'seccompProfile'],
    ['root', withContext({ runAsUser: 0 }), 'runAsUser'],
    ['root by default', withContext({ runAsNonRoot: undefined }), 'runAsNonRoot'],
    ['a privileged container', withContext({ privileged: true }), 'privileged'],
    ['escalation', withContext({ allowPrivilegeEscalation: true }), 'allowPrivilegeEscalation'],
    ['capabilities', withContext({ capabilities: {} }), 'drop'],
    ['another capability', withContext({ capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] } }), 'add'],
    ['no seccomp', withContext({ seccompProfile: { type: 'Unconfined' } }), 'seccompProfile'],
    ['the network of the node', { ...pod, hostNetwork: true }, 'hostNetwork'],
    ['a folder of the node', { ...pod, volumes: [{ name: 'x', hostPath: {} }] }, 'hostPath'],
    ['a port of the node', { ...pod, containers: [{ ...container, ports: [{ hostPort: 80 }] }] }, 'hostPort'],
  ])('finds %s', (_, bad, rule) => {
    expect(violations(pod)).toEqual([]);
    expect(violations(bad)).toContain(rule);
  });
});
