import { Service, type IService } from '@kubernetes-models/knative/serving.knative.dev/v1';

/* The processes of a cluster: what runs there, with which environment and rights. */

export const NAMESPACE = 'cabs';
/** Knative looks up the digest of every tag in its registry, but not for dev.local: an image loaded into kind has none. */
const IMAGE = 'dev.local/meshy-cabs:dev';
const PORT = 3000;
/** Whom the tokens of the Broker are made out for, and of whoever else calls us: the value of MESH_OIDC_AUDIENCE. */
export const AUDIENCE = 'cabs';

type PodSpec = NonNullable<NonNullable<NonNullable<IService['spec']>['template']>['spec']>;
type Container = PodSpec['containers'][number];
type Variables = NonNullable<Container['env']>;

/** The least that it can do with: it writes nothing but to its database. */
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
};

/** One deployment of the image. */
export interface Workload {
  readonly name: string;
  readonly component: 'application' | 'dead-letters';
  /** The value of MODULES; absent when it hosts all of them. */
  readonly modules?: string;
  /** Base URLs of the modules that live elsewhere, by module. */
  readonly elsewhere: Readonly<Record<string, string>>;
  readonly maxScale: number;
}

/** What others call a workload by, inside the cluster. */
export function urlOf(workload: string): string {
  return `http://${workload}.${NAMESPACE}.svc.cluster.local`;
}

/** Nobody reaches it from outside: its endpoints take events from anyone as long as OIDC is off. */
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
          // More would only wait for the database; the rest waits in front of the process.
          containerConcurrency: 100,
          // Also the grace of the pod: 30 s in which queue-proxy waits for the routes to change, then twice SHUTDOWN_GRACE.
          timeoutSeconds: 120,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          containers: [
            {
              ...CONTAINER,
              env: [
                ...environment(workload),
                ...Object.entries(elsewhere).map(([module, value]) => ({
                  name: `USVC_${module.toUpperCase()}`,
                  value,
                })),
                { name: 'SHUTDOWN_GRACE', value: 'PT20S' },
                { name: 'MESH_ADMIN_TOKEN', valueFrom: secret('mesh-administration', 'token', true) },
              ],
              ports: [{ containerPort: PORT }],
              readinessProbe: { httpGet: { path: '/health/ready' }, timeoutSeconds: 5 },
              livenessProbe: { httpGet: { path: '/health/live' }, initialDelaySeconds: 30, timeoutSeconds: 5 },
            },
          ],
        },
      },
    },
  });
}

/** A production process doesn't change its tables by itself. The Job removes itself, so that the next one can be applied. */
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
        },
      },
    },
  };
}

export function labels(name: string, component: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': name,
    'app.kubernetes.io/component': component,
    'app.kubernetes.io/part-of': 'meshy-cabs',
  };
}

function environment({ name, modules }: Workload): Variables {
  return [
    { name: 'NODE_ENV', value: 'production' },
    { name: 'MESH_TRANSPORT', value: 'knative' },
    ...(modules === undefined ? [] : [{ name: 'MODULES', value: modules }]),
    { name: 'DATABASE_URL', valueFrom: secret(`${name}-database`, 'url') },
  ];
}

function secret(name: string, key: string, optional?: true) {
  return { secretKeyRef: { name, key, ...(optional && { optional }) } };
}
