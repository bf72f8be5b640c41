import * as eventing from '@kubernetes-models/knative/eventing.knative.dev/v1';
import * as serving from '@kubernetes-models/knative/serving.knative.dev/v1';
import * as sources from '@kubernetes-models/knative/sources.knative.dev/v1';
import type { Type } from '@nestjs/common';
import { parseAllDocuments } from 'yaml';
import { MODULES } from '../../src/app.module.js';
import { manifests } from '../../tools/manifests.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- objects of Kubernetes, read back from YAML */

/* The generated manifests, parsed for tests. */

export const VARIANTS = ['monolith', 'split'] as const;
const MODELS: Record<string, Type<{ validate(): void }>> = { ...eventing, ...serving, ...sources } as never;
/** Kinds without a model in the package. */
const PLAIN = ['Namespace', 'Job', 'Kustomization', 'Component'];

export const files = manifests(MODULES);

export function objects(text: string): any[] {
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS();
  });
}

/** All objects of a variant, or those of a kind. */
export function objectsOf(variant: string, kind?: string): any[] {
  const all = [...files].filter(([path]) => path.startsWith(`${variant}/`)).flatMap(([, text]) => objects(text));
  return kind ? all.filter((it) => it.kind === kind) : all;
}

export function validate(it: any): void {
  if (PLAIN.includes(it.kind as string)) return;
  const { apiVersion: _, kind, ...data } = it;
  new MODELS[kind as string]!(data).validate();
}

/** The environment of a container, as its process would see it. */
export function environmentOf(spec: any): Record<string, string> {
  const { env } = spec.template.spec.containers[0] as { env: any[] };
  return Object.fromEntries(env.map(({ name, value }) => [name, value ?? 'postgres://from/a-secret']));
}
