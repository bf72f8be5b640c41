import { readResources } from './manifest-files.js';
import { BadManifest, metadata, oneLine, parseField, text } from './manifest-schema.js';

/* Finds the Brokers and Triggers in the YAML files of a folder. */

/** The only version of Brokers and Triggers that Knative serves since 0.24. */
export const API_VERSION = 'eventing.knative.dev/v1';
const KINDS: readonly string[] = ['Broker', 'Trigger'];

/** A Broker or Trigger whose spec is not checked yet. */
export interface EventingResource {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly apiVersion: string;
  readonly spec: unknown;
  /** File, kind, name and version, for messages. */
  readonly where: string;
}

/** The Brokers and Triggers of Knative in a folder, of any version. @throws BadManifest */
export function eventingResources(folder: string): EventingResource[] {
  const resources = readResources(folder);
  // `kubectl apply -k` puts all resources into the namespace of the kustomization.
  const kustomization = resources.find(({ resource }) => resource.kind === 'Kustomization');
  const common =
    kustomization && parseField(text, kustomization.resource.namespace, `${kustomization.file}: namespace`);
  return resources.flatMap(({ file, resource: { apiVersion, kind, spec, metadata: given } }) => {
    if (typeof apiVersion !== 'string' || !apiVersion.startsWith('eventing.knative.dev/')) return [];
    if (!KINDS.includes(kind)) return [];
    const { name, namespace = common || 'default' } = parseField(metadata, given ?? {}, `${file}: metadata`);
    if (!name) throw new BadManifest(`${file}: a ${kind} without a name`);
    const where = `${file}: ${kind} ${oneLine(`${namespace}/${name}`)} (${oneLine(apiVersion)})`;
    return [{ kind, name, namespace, apiVersion, spec, where }];
  });
}

export function isCurrent({ apiVersion }: EventingResource): boolean {
  return apiVersion === API_VERSION;
}
