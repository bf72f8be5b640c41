import * as eventing from '@kubernetes-models/knative/eventing.knative.dev/v1';
import * as serving from '@kubernetes-models/knative/serving.knative.dev/v1';
import * as sources from '@kubernetes-models/knative/sources.knative.dev/v1';
import type { Type } from '@nestjs/common';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { MODULES } from '../../src/app.module.js';
import { manifests } from '../../tools/manifests.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- objects of Kubernetes, read back from YAML */

/* The generated manifests, parsed for tests. */

export const VARIANTS = ['monolith', 'split'] as const;
const MODELS: Record<string, Type<{ validate(): void }>> = { ...eventing, ...serving, ...sources } as never;
/** Kinds without a model in the package, and without fields of their own to check. */
const PLAIN = ['Namespace', 'Job', 'Kustomization', 'Component', 'ServiceAccount', 'NetworkPolicy'];

const strict = z.strictObject;
const reference = strict({ apiVersion: z.string(), kind: z.string(), name: z.string() });
const exact = strict({ exact: z.record(z.string(), z.string()) });
/** Kinds without a model in the package; the fields are those of their definitions in Knative 1.22. */
const SCHEMAS: Record<string, z.ZodType> = {
  // The webhook refuses an EventType without these four attributes.
  'eventing.knative.dev/v1beta3 EventType': strict({
    reference,
    description: z.string().optional(),
    attributes: z
      .array(strict({ name: z.string(), required: z.boolean(), value: z.string().optional() }))
      .refine((all) =>
        ['specversion', 'id', 'source', 'type'].every((name) => all.some((it) => it.name === name && it.required)),
      ),
  }),
  'eventing.knative.dev/v1alpha1 EventPolicy': strict({
    to: z.array(strict({ ref: reference })).min(1),
    from: z.array(strict({ ref: reference.extend({ namespace: z.string() }) })).min(1),
    filters: z.array(z.union([exact, strict({ any: z.array(exact).min(1) })])),
  }),
  'eventing.knative.dev/v1alpha1 RabbitmqBrokerConfig': strict({
    rabbitmqClusterReference: strict({ name: z.string(), namespace: z.string() }),
    queueType: z.enum(['quorum', 'classic']),
  }),
};
const FILTERS = z.array(strict({ any: z.array(strict({ exact: strict({ type: z.string() }) })).min(1) })).length(1);
const PLAIN_SERVICE = strict({
  type: z.literal('LoadBalancer').optional(),
  selector: z.record(z.string(), z.string()),
  ports: z.array(strict({ name: z.string(), port: z.int(), targetPort: z.int() })).length(1),
});
const ANNOTATIONS = z.record(z.string(), z.string()).optional();

export const files = manifests(MODULES);

export function objects(text: string): any[] {
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS();
  });
}

/** All objects of a variant, or those of a kind. A Service is one of Knative; the plain ones are `v1 Service`. */
export function objectsOf(variant: string, kind?: string): any[] {
  const all = [...files].filter(([path]) => path.startsWith(`${variant}/`)).flatMap(([, text]) => objects(text));
  return kind ? all.filter((it) => kindOf(it) === kind) : all;
}

function kindOf({ apiVersion, kind }: any): string {
  return apiVersion === 'v1' && kind === 'Service' ? 'v1 Service' : kind;
}

export function validate(it: any): void {
  if (PLAIN.includes(it.kind as string)) return;
  if (kindOf(it) === 'v1 Service') return void PLAIN_SERVICE.parse(it.spec);
  const { apiVersion, kind, ...data } = it;
  ANNOTATIONS.parse(it.metadata?.annotations);
  if (kind === 'ConfigMap') return void z.record(z.string(), z.string()).parse(it.data);
  const schema = SCHEMAS[`${apiVersion} ${kind}`];
  if (schema) return void schema.parse(it.spec);
  // The model of a Trigger is older than `filters`.
  if (kind === 'Trigger' && it.spec.filters) FILTERS.parse(it.spec.filters);
  new MODELS[kind as string]!(data).validate();
}

/** The environment of a container, as its process would see it. */
export function environmentOf(spec: any): Record<string, string> {
  const { env } = spec.template.spec.containers[0] as { env: any[] };
  const referred = ({ configMapKeyRef }: any) => (configMapKeyRef ? 'https://from/a-map' : 'postgres://from/a-secret');
  return Object.fromEntries(env.map(({ name, value, valueFrom }) => [name, value ?? referred(valueFrom)]));
}
