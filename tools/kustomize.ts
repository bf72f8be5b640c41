import { stringify } from 'yaml';

/* Parts of kustomize's files. */

/** A step of a JSON patch. */
export interface Operation {
  readonly op: 'add' | 'remove' | 'replace' | 'test';
  readonly path: string;
  readonly value?: unknown;
}

interface Component {
  readonly resources?: readonly string[];
  /** Paths of other components. */
  readonly components?: readonly string[];
  readonly patches?: readonly object[];
}

/** An option of a deployment: an overlay lists the components that it needs. */
export function component(parts: Component): object {
  return { apiVersion: 'kustomize.config.k8s.io/v1alpha1', kind: 'Component', ...parts };
}

/** A patch of lists: a merge would replace whole lists of resources that kustomize doesn't know. */
export function jsonPatch(target: object, operations: readonly Operation[]): object {
  return { target, patch: stringify(operations) };
}

/** A patch of fields, which may be there or not. @param target also matches objects of other names than `fields` has */
export function mergePatch(target: object, fields: object): object {
  return { target, patch: stringify(fields) };
}
