import type { Operation } from './kustomize.js';
import { labels, NAMESPACE, type Workload } from './workloads.js';

/* How a workload survives the maintenance and the loss of nodes. */

/** Knative gives its pods this label with the name of their Service. */
const SERVICE = 'serving.knative.dev/service';
const REVISION = 'serving.knative.dev/revision';

/**
 * Lets a drain of nodes evict one pod of a workload at a time. `minAvailable: 1` would block a drain for as long as a workload
 * has one pod, as it has without load.
 */
export function disruptionBudget({ name }: Workload): object {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name, namespace: NAMESPACE, labels: labels(name, 'disruption-budget') },
    spec: {
      maxUnavailable: 1,
      // A pod that never becomes ready must not block a drain.
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: { [SERVICE]: name } },
    },
  };
}

/** Puts the pods of a revision on different nodes and zones where there are enough. Knative accepts it only with a flag. */
export const spreadPods: Operation = {
  op: 'add',
  path: '/spec/template/spec/topologySpreadConstraints',
  value: ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchExpressions: [{ key: SERVICE, operator: 'Exists' }] },
    matchLabelKeys: [REVISION],
  })),
};
