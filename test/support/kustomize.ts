import { posix } from 'node:path';
import { parse } from 'yaml';
import { files, objects, objectsOf } from './manifests.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- objects of Kubernetes, read back from YAML */

/*
 * The subset of kustomize that the components use, compared once by hand with `kubectl kustomize` 1.32. Kustomize itself
 * is no npm package.
 */

/** The objects of a variant after an overlay has added components of `deploy/knative/components`. */
export function overlay(variant: string, ...components: string[]): any[] {
  const start = objectsOf(variant).filter(({ kind }) => kind !== 'Kustomization');
  return components.reduce((all, it) => withComponent(all, `components/${it}`), start);
}

interface Patch {
  readonly target: any;
  readonly patch: string;
}

interface Component {
  readonly components?: readonly string[];
  readonly resources?: readonly string[];
  readonly patches?: readonly Patch[];
}

function withComponent(before: any[], folder: string): any[] {
  const [read] = objects(files.get(`${folder}/kustomization.yaml`)!);
  const { components = [], resources = [], patches = [] } = read as Component;
  const nested = components.map((it) => posix.join(folder, it));
  const added = resources.flatMap((it) => objects(files.get(`${folder}/${it}`)!));
  return patched([...nested.reduce(withComponent, before), ...added], patches);
}

/** The objects after the patches of an overlay, which come after those of its components. */
export function patched(all: any[], patches: readonly Patch[]): any[] {
  return patches.reduce((current, { target, patch }) => withPatch(current, target, parse(patch)), all);
}

/** @throws Error when the patch selects no object, or changes a path that no object has */
function withPatch(all: any[], target: any, patch: any): any[] {
  const isSelected = (it: any) =>
    it.kind === target.kind &&
    (!target.group || (it.apiVersion as string).startsWith(`${target.group}/`)) &&
    (!target.name || new RegExp(`^(${target.name})$`).test(it.metadata.name as string)) &&
    (!target.labelSelector || hasLabel(it, target.labelSelector as string));
  if (!all.some(isSelected)) throw new Error(`No object is selected by ${JSON.stringify(target)}`);
  if (patch.$patch === 'delete') return all.filter((it) => !isSelected(it));
  return all.map((it) => {
    if (!isSelected(it)) return it;
    if (!Array.isArray(patch)) return withFields(it, fieldsOf(patch));
    return patch.reduce(withOperation, structuredClone(it));
  });
}

function hasLabel({ metadata }: any, selector: string): boolean {
  const [name, value] = selector.split('=');
  return metadata.labels?.[name!] === value;
}

/** The target selects the objects, so the name in the patch has no meaning. */
function fieldsOf({ metadata: { name: _, ...metadata }, ...patch }: any): any {
  return { ...patch, metadata };
}

function withFields(value: any, patch: any): any {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const merged = Object.entries(patch).map(([key, it]) => [key, withFields(value?.[key], it)]);
  return { ...value, ...Object.fromEntries(merged) };
}

function withOperation(object: any, { op, path, value }: any): any {
  const keys = (path as string)
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/'));
  const parent = keys.slice(0, -1).reduce((it, key) => it?.[key], object);
  const last = keys.at(-1)!;
  if (!parent || (op !== 'add' && !(last in parent))) throw new Error(`${op} of ${path}, which does not exist`);
  if (op === 'add' && last !== '-' && last in parent) throw new Error(`add of ${path}, which would be replaced`);
  if (op === 'test') {
    if (parent[last] !== value) throw new Error(`test of ${path}, which is ${parent[last]}`);
  } else if (op === 'remove') {
    if (Array.isArray(parent)) parent.splice(Number(last), 1);
    else delete parent[last];
  } else if (last === '-') (parent as unknown[]).push(value);
  else parent[last] = value;
  return object;
}
