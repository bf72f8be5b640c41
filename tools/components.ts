import { PingSource } from '@kubernetes-models/knative/sources.knative.dev/v1';
import { stringify } from 'yaml';
import { AUDIENCE, labels, NAMESPACE } from './workloads.js';

/*
 * Components of kustomize for options of a cluster: an overlay lists the ones that it needs. They are JSON patches,
 * because a strategic merge would replace whole lists of resources that kustomize doesn't know.
 */

const APPLICATION = {
  group: 'serving.knative.dev',
  kind: 'Service',
  labelSelector: 'app.kubernetes.io/component=application',
};
const SERVICES = { group: 'serving.knative.dev', kind: 'Service' };
const SPEC = '/spec/template/spec';
const ENV = `${SPEC}/containers/0/env/-`;
/** The path at which a SinkBinding mounts the token for the Broker. */
const BROKER_TOKEN = '/oidc/token';
const MESH_VOLUME = '/var/run/mesh';

interface Operation {
  readonly op: 'add' | 'remove' | 'replace';
  readonly path: string;
  readonly value?: unknown;
}

/** The files of all components. @param variants the workloads of each variant that may be scaled to zero */
export function components(variants: Readonly<Record<string, readonly string[]>>): [path: string, objects: object[]][] {
  const files: [string, object[]][] = [
    ['demo/kustomization.yaml', [component([patch(APPLICATION, [variable('SEED', 'demo')])])]],
    ['public/kustomization.yaml', [component([patch(APPLICATION, [makePublic])])]],
    ['oidc/kustomization.yaml', [component(oidc)]],
  ];
  for (const [variant, workloads] of Object.entries(variants)) {
    const folder = `scale-to-zero-${variant}`;
    files.push(
      [`${folder}/kustomization.yaml`, [component([patch(APPLICATION, [scaleToZero])], ['ping.yaml'])]],
      [`${folder}/ping.yaml`, workloads.map(ping)],
    );
  }
  return files.map(([path, objects]) => [`components/${path}`, objects]);
}

function component(patches: readonly object[], resources?: readonly string[]): object {
  return {
    apiVersion: 'kustomize.config.k8s.io/v1alpha1',
    kind: 'Component',
    ...(resources && { resources }),
    patches,
  };
}

function patch(target: object, operations: readonly Operation[]): object {
  return { target, patch: stringify(operations) };
}

function variable(name: string, value: string): Operation {
  return { op: 'add', path: ENV, value: { name, value } };
}

const makePublic: Operation = { op: 'remove', path: '/metadata/labels/networking.knative.dev~1visibility' };

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

/** The issuer is the cluster. Check its name: `kubectl get --raw /.well-known/openid-configuration`. */
const oidc = [
  patch(SERVICES, [
    {
      op: 'add',
      path: `${SPEC}/volumes`,
      value: [
        {
          name: 'mesh',
          projected: {
            sources: [
              { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
              { serviceAccountToken: { audience: AUDIENCE, expirationSeconds: 3600, path: 'token' } },
            ],
          },
        },
      ],
    },
    {
      op: 'add',
      path: `${SPEC}/containers/0/volumeMounts`,
      value: [{ name: 'mesh', mountPath: MESH_VOLUME, readOnly: true }],
    },
    variable('MESH_OIDC_ISSUER', 'https://kubernetes.default.svc.cluster.local'),
    variable('MESH_OIDC_JWKS', 'https://kubernetes.default.svc/openid/v1/jwks'),
    variable('MESH_OIDC_AUDIENCE', AUDIENCE),
    variable('NODE_EXTRA_CA_CERTS', `${MESH_VOLUME}/ca.crt`),
  ]),
  patch(APPLICATION, [variable('MESH_OIDC_TOKEN_FILE', BROKER_TOKEN)]),
  // This process sends no messages to a Broker: it replays dead letters to the consumers directly.
  patch({ ...SERVICES, name: 'dead-letters' }, [variable('MESH_OIDC_TOKEN_FILE', `${MESH_VOLUME}/token`)]),
];
