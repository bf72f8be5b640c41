import { labels, NAMESPACE, REST_PORT, type Workload } from './workloads.js';

/* The ways to a workload besides its Knative Service: REST, and what the network lets through. */

/** Pods of the cluster's gateways (Kourier, Istio or Contour) and of Knative's activator and autoscaler call the pods. */
const CALLERS = ['knative-serving', 'kourier-system', 'istio-system', 'contour-internal', 'contour-external'];

/** A plain Service for REST: a Knative Service routes one port only, and that is the port of the mesh. */
export function restService({ name }: Workload): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `${name}-rest`, namespace: NAMESPACE, labels: labels(name, 'rest') },
    spec: {
      selector: { 'serving.knative.dev/service': name },
      ports: [{ name: 'http', port: 80, targetPort: REST_PORT }],
    },
  };
}

/**
 * Closes the pods of all workloads, except for REST and for requests that Knative routes. REST is open to every pod: with
 * AUTH=none all pods may read and change everything. The component `rest-auth` demands tokens, and `public` needs it.
 */
export function networkPolicy(): object {
  const isCaller = { key: 'kubernetes.io/metadata.name', operator: 'In', values: CALLERS };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'mesh', namespace: NAMESPACE, labels: labels('mesh', 'network-policy') },
    spec: {
      podSelector: { matchExpressions: [{ key: 'serving.knative.dev/service', operator: 'Exists' }] },
      policyTypes: ['Ingress'],
      ingress: [
        { ports: [{ protocol: 'TCP', port: REST_PORT }] },
        { from: [{ namespaceSelector: { matchExpressions: [isCaller] } }] },
      ],
    },
  };
}
