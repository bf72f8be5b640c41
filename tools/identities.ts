import { DEAD_LETTERS, NAMESPACE } from './workloads.js';

/* The subjects (`sub`) of the tokens that Kubernetes issues, with OIDC in Knative 1.13 or later. */

/** Longest name of an object in Kubernetes. */
const NAME_LIMIT = 63;

/** The subject of a pod with this service account. */
export function subjectOf(serviceAccount: string): string {
  return `system:serviceaccount:${NAMESPACE}:${serviceAccount}`;
}

/**
 * The subject of an object that sends events. Knative gives each a service account named after it
 * (GetOIDCServiceAccountNameForResource in pkg/auth of knative/eventing, ChildName in pkg/kmeta of knative/pkg).
 * @throws Error for a name that Knative would shorten
 */
function subjectOfObject(group: string, kind: string, name: string): string {
  const account = `${name}-oidc-${group}-${kind}`.toLowerCase();
  if (account.length > NAME_LIMIT) throw new Error(`The service account of ${kind} ${name} has a shortened name`);
  return subjectOf(account);
}

/**
 * The value of MESH_OIDC_SUBJECTS for all workloads: each identity with the one path where it delivers.
 * @param consumers the modules that have a Trigger
 * @param pinged the workloads that a PingSource may wake
 */
export function senders(consumers: readonly string[], pinged: readonly string[]): string {
  const triggers = consumers.map((it) => [it, subjectOfObject('eventing.knative.dev', 'Trigger', it)] as const);
  return [
    ...triggers.map(([module, subject]) => `${module}=${subject}`),
    // The Broker sends a dead letter with the identity of the Trigger that failed.
    ...triggers.map(([, subject]) => `${DEAD_LETTERS}=${subject}`),
    // A requeued message.
    ...consumers.map((module) => `${module}=${subjectOf(DEAD_LETTERS)}`),
    ...pinged.map((it) => `flush=${subjectOfObject('sources.knative.dev', 'PingSource', it)}`),
  ].join(',');
}

/** The value of MESH_OIDC_CALLERS: each module asks with the service account of its workload. */
export function callers(modules: readonly string[]): string {
  return modules.map((it) => `${it}=${subjectOf(it)}`).join(',');
}
