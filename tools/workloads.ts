import { Service, type IService } from '@kubernetes-models/knative/serving.knative.dev/v1';
import { labels as placeLabels, type Place } from './eventing.js';
import { ADMINISTRATION, databaseOf, SECRETS_MOUNT, secretsVolume, variableOf } from './secret-files.js';

/* The workloads of a cluster, with their environment and rights. */

export const NAMESPACE = 'cabs';
/** The label of a namespace that names the Pod Security Standard of its pods. */
export const POD_SECURITY = 'pod-security.kubernetes.io/enforce';
/** Knative looks up each tag in its registry, except for dev.local. An image loaded into kind is in no registry. */
const IMAGE = 'dev.local/meshy-cabs:dev';
/** Knative sets PORT to the one port that it routes: that of the mesh. REST therefore gets its port by REST_PORT. */
const MESH_PORT = 8081;
export const REST_PORT = 3000;
/** The audience of all tokens for these services: the value of MESH_OIDC_AUDIENCE. */
export const AUDIENCE = 'cabs';
export const CABS: Place = { namespace: NAMESPACE, partOf: 'meshy-cabs', audience: AUDIENCE };
/** The Service that stores the dead letters of the Broker. */
export const DEAD_LETTERS = 'dead-letters';

type PodSpec = NonNullable<NonNullable<NonNullable<IService['spec']>['template']>['spec']>;
type Container = PodSpec['containers'][number];
type Variables = NonNullable<Container['env']>;

/**
 * A container with minimal rights, as the Pod Security Standard `restricted` wants them. The application writes only to its
 * database. Node limits its heap by the limit of the memory: see the Dockerfile.
 */
const CONTAINER: Container = {
  image: IMAGE,
  imagePullPolicy: 'IfNotPresent',
  resources: { requests: { cpu: '100m', memory: '192Mi' }, limits: { memory: '512Mi' } },
  securityContext: {
    runAsNonRoot: true,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  },
  volumeMounts: [SECRETS_MOUNT],
};

/** One deployment of the image. */
export interface Workload {
  readonly name: string;
  readonly component: 'application' | 'dead-letters';
  /** The value of MODULES; absent when the workload hosts all modules. */
  readonly modules?: string;
  /** Base URLs of the modules in other workloads, by module. */
  readonly elsewhere: Readonly<Record<string, string>>;
  readonly maxScale: number;
}

/** The address of a workload inside the cluster. */
export function urlOf(workload: string): string {
  return `http://${workload}.${NAMESPACE}.svc.cluster.local`;
}

/** The name of the first variable of a container. The component `oidc` replaces it. */
export const ALLOW_ANONYMOUS = 'MESH_ALLOW_ANONYMOUS';
/** The name of the second variable of a container. The component `rest-auth` replaces it. */
export const AUTH = 'AUTH';

/** The identity of a workload's pods, for the tokens of its queries. */
export function serviceAccount({ name, component }: Pick<Workload, 'name'> & { component: string }): object {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace: NAMESPACE, labels: labels(name, component) },
    automountServiceAccountToken: false,
  };
}

/** The identity of all Jobs that migrate, so that rights of a Service or of `default` aren't theirs. */
const MIGRATION_ACCOUNT = 'database-migration';

/** With the label of the Jobs, because they are applied first. */
export const migrationAccount = serviceAccount({ name: MIGRATION_ACCOUNT, component: 'migration' });

/** The Service routes the mesh's port only, and is cluster-local: without OIDC it accepts events from any client. */
export function service(workload: Workload): Service {
  const { name, component, elsewhere, maxScale } = workload;
  return new Service({
    metadata: {
      name,
      namespace: NAMESPACE,
      labels: {
        ...labels(name, component),
        'bindings.knative.dev/include': 'true',
        'networking.knative.dev/visibility': 'cluster-local',
      },
    },
    spec: {
      template: {
        metadata: {
          annotations: {
            'autoscaling.knative.dev/min-scale': '1',
            'autoscaling.knative.dev/max-scale': String(maxScale),
          },
        },
        spec: {
          // More concurrent requests would only wait for the database. The rest waits in queue-proxy.
          containerConcurrency: 100,
          // Also the termination grace period: queue-proxy waits 30 s for the routes to change, then SHUTDOWN_DELAY and twice
          // SHUTDOWN_GRACE.
          timeoutSeconds: 120,
          serviceAccountName: name,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          containers: [
            {
              ...CONTAINER,
              env: [
                { name: ALLOW_ANONYMOUS, value: 'true' },
                // REST trusts every client that the network lets through to REST_PORT: see networkPolicy().
                { name: AUTH, value: 'none' },
                ...environment(workload),
                { name: 'MESH_PORT', value: String(MESH_PORT) },
                { name: 'REST_PORT', value: String(REST_PORT) },
                ...Object.entries(elsewhere).map(([module, value]) => ({
                  name: `USVC_${module.toUpperCase()}`,
                  value,
                })),
                { name: 'SHUTDOWN_GRACE', value: 'PT20S' },
                variableOf(ADMINISTRATION),
              ],
              ports: [{ containerPort: MESH_PORT }],
              readinessProbe: { httpGet: { path: '/health/ready' }, timeoutSeconds: 5 },
              livenessProbe: { httpGet: { path: '/health/live' }, initialDelaySeconds: 30, timeoutSeconds: 5 },
            },
          ],
          volumes: [secretsVolume([databaseOf(name), ADMINISTRATION])],
        },
      },
    },
  });
}

/** A Job that migrates the database: production processes don't. It is deleted after 300 s, so it can be applied again. */
export function migration(workload: Workload): object {
  const { name } = workload;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: `${name}-migration`, namespace: NAMESPACE, labels: labels(name, 'migration') },
    spec: {
      backoffLimit: 10,
      activeDeadlineSeconds: 600,
      ttlSecondsAfterFinished: 300,
      template: {
        metadata: { labels: labels(name, 'migration') },
        spec: {
          restartPolicy: 'OnFailure',
          serviceAccountName: MIGRATION_ACCOUNT,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          containers: [
            {
              name: 'migration',
              ...CONTAINER,
              command: ['node', 'dist/src/migrate.js'],
              env: environment(workload),
            },
          ],
          volumes: [secretsVolume([databaseOf(name)])],
        },
      },
    },
  };
}

export function labels(name: string, component: string): Record<string, string> {
  return placeLabels(CABS, name, component);
}

function environment({ name, modules }: Workload): Variables {
  return [
    { name: 'NODE_ENV', value: 'production' },
    { name: 'MESH_TRANSPORT', value: 'knative' },
    ...(modules === undefined ? [] : [{ name: 'MODULES', value: modules }]),
    variableOf(databaseOf(name)),
  ];
}
