import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  'policy/v1 PodDisruptionBudget': strict({
    maxUnavailable: z.int(),
    unhealthyPodEvictionPolicy: z.enum(['AlwaysAllow', 'IfHealthyBudget']),
    selector: strict({ matchLabels: z.record(z.string(), z.string()) }),
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

/** The fields of a pod that the tests read. */
export interface PodSpec {
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly containers: readonly {
    readonly env: readonly { readonly name: string; readonly value: string; readonly valueFrom?: object }[];
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
    readonly securityContext?: object;
  }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly projected: {
      readonly defaultMode?: number;
      readonly sources: readonly {
        readonly secret?: { readonly name: string; readonly items: readonly SecretKey[] };
      }[];
    };
  }[];
  readonly topologySpreadConstraints?: readonly {
    readonly topologyKey: string;
    readonly labelSelector: { readonly matchExpressions: readonly { readonly key: string }[] };
    readonly matchLabelKeys: readonly string[];
  }[];
}
interface SecretKey {
  readonly key: string;
  readonly path: string;
}

/** What the keys of secrets hold. */
const SECRETS: Record<string, string> = { url: 'postgres://from/a-secret\n', token: 'sesame-sesame-sesame\n' };
const FOLDER = mkdtempSync(join(tmpdir(), 'cabs-secrets-'));
for (const [key, text] of Object.entries(SECRETS)) writeFileSync(join(FOLDER, key), text);

/** The environment of a container, as its process would see it. The files that its secrets are mounted as exist. */
export function environmentOf(spec: any): Record<string, string> {
  const { containers, volumes } = spec.template.spec as PodSpec;
  const { env, volumeMounts } = containers[0]!;
  const files = new Map<string, string>();
  for (const { name, mountPath } of volumeMounts) {
    const { sources } = volumes.find((it) => it.name === name)!.projected;
    for (const { key, path } of sources.flatMap(({ secret }) => secret?.items ?? [])) {
      files.set(`${mountPath}/${path}`, join(FOLDER, key));
    }
  }
  const valueOf = ({ value, valueFrom }: (typeof env)[number]) =>
    valueFrom ? 'https://from/a-map' : (files.get(value) ?? value);
  return Object.fromEntries(env.map((it) => [it.name, valueOf(it)]));
}
