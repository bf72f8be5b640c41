import 'reflect-metadata';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Type } from '@nestjs/common';
import { disruptionBudget } from './availability.js';
import { runCommand } from './command-line.js';
import { components, type Variant } from './components.js';
import { UsageError } from './errors.js';
import { binding, broker, trigger, type Consumer } from './eventing.js';
import { toYaml, writeManifests } from './manifest-folder.js';
import { declaredMessages, messagesOfModules } from './module-messages.js';
import { networkPolicy, restService } from './network.js';
import { readSources, ROOT, type Sources } from './source.js';
import {
  CABS,
  DEAD_LETTERS,
  migration,
  migrationAccount,
  NAMESPACE,
  POD_SECURITY,
  service,
  serviceAccount,
  urlOf,
  type Workload,
} from './workloads.js';

/*
 * Generates deploy/knative from the handlers' decorators and the sources, so that the manifests always match the code. A
 * test fails when the committed files are out of date.
 */

const USAGE = `npm run manifests -- [folder]

  Generates the manifests of the cluster from the modules, and deletes generated files that are out of
  use. Files of other origin are kept.

  folder     a new or empty folder, or one that this command has written before; default deploy/knative`;

export const FOLDER = 'deploy/knative';
/** The workload that hosts all modules. */
const MONOLITH = 'cabs';
const MAX_SCALE = 2;

/** An object for YAML: plain data, or a typed model. */
export type Manifest = object & { validate?(): void };

/**
 * Generates the files of deploy/knative, by their paths in it. They depend only on the modules and their sources.
 * @throws Error when an object violates its model, or two files or Triggers have the same name
 */
export function manifests(
  modules: readonly Type[],
  sources: Sources = readSources('src/modules'),
): Map<string, string> {
  const declared = declaredMessages(modules, sources);
  const messages = messagesOfModules(modules, declared);
  const names = messages.map(({ module }) => module);
  const monolith = { name: MONOLITH, component: 'application', elsewhere: {}, maxScale: MAX_SCALE } as const;
  const split = names.map((name): Workload => {
    const others = names.filter((it) => it !== name).map((it) => [it, urlOf(it)] as const);
    return { ...monolith, name, modules: name, elsewhere: Object.fromEntries(others) };
  });
  const variants: readonly Variant[] = [
    { name: 'monolith', workloads: [monolith], hostOf: () => MONOLITH },
    { name: 'split', workloads: split, hostOf: (module) => module },
  ];
  const files = new Map<string, string>();
  const add = (path: string, objects: readonly Manifest[]) => {
    if (files.has(path)) throw new Error(`${path} would be written twice: two objects have the same name`);
    files.set(path, yaml(objects));
  };
  const consumers = messages.filter(({ handles }) => handles.length > 0);
  for (const variant of variants) {
    for (const [file, objects] of variantFiles(variant, consumers)) add(`${variant.name}/${file}`, objects);
  }
  for (const [path, objects] of components(variants, messages, declared)) add(path, objects);
  return files;
}

/** A variant of the deployment: a flat folder, with a kustomization that lists its files. */
function variantFiles(
  { workloads, hostOf }: Variant,
  consumers: readonly Consumer[],
): [file: string, objects: Manifest[]][] {
  const addresses = consumers.map(({ module }) => [module, urlOf(hostOf(module))] as const);
  const deadLetters: Workload = {
    name: DEAD_LETTERS,
    component: 'dead-letters',
    modules: 'none',
    elsewhere: Object.fromEntries(addresses),
    maxScale: 1,
  };
  const files: [string, Manifest[]][] = [
    ['namespace.yaml', [namespace]],
    ['network-policy.yaml', [networkPolicy()]],
    ['disruption-budgets.yaml', [...workloads, deadLetters].map(disruptionBudget)],
    ['migration-account.yaml', [migrationAccount]],
    // No SinkBinding: the Broker has no address before its dead letter sink is ready.
    [`${DEAD_LETTERS}.yaml`, [migration(deadLetters), serviceAccount(deadLetters), service(deadLetters)]],
    ['broker.yaml', [broker(CABS, DEAD_LETTERS)]],
    ...workloads.map((it): [string, Manifest[]] => [
      `${it.name}.yaml`,
      [migration(it), binding(CABS, it.name), serviceAccount(it), service(it), restService(it)],
    ]),
    ...consumers.map((it): [string, Manifest[]] => [
      `${it.module}-trigger.yaml`,
      [trigger(CABS, it, hostOf(it.module))],
    ]),
  ];
  const kustomization = {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    // Apply in this order: a Service that is bound before it starts has its K_SINK at once.
    sortOptions: { order: 'fifo' },
    resources: files.map(([file]) => file),
  };
  return [['kustomization.yaml', [kustomization]], ...files];
}

const namespace = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: {
    name: NAMESPACE,
    labels: {
      // For clusters where bindings need this label, on the namespace and on the bound object.
      'bindings.knative.dev/include': 'true',
      [POD_SECURITY]: 'restricted',
    },
  },
};

function yaml(objects: readonly Manifest[]): string {
  for (const it of objects) it.validate?.();
  return toYaml(objects);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runCommand({ usage: USAGE, options: {}, allowPositionals: true }, async (_, [folder, ...more]) => {
    if (more.length > 0) throw new UsageError(`Unexpected argument "${more[0]}": expected one folder.`);
    const { MODULES } = await import('../src/app.module.js');
    const target = folder ?? join(ROOT, FOLDER);
    writeManifests(target, manifests(MODULES));
    console.log(`Wrote ${target}`);
  });
}
