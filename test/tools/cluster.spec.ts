import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { FOLDER } from '../../tools/manifests.js';
import { ROOT } from '../../tools/source.js';
import { overlay, patched } from '../support/kustomize.js';
import { files, objectsOf, VARIANTS, type PodSpec } from '../support/manifests.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- objects of Kubernetes, read back from YAML */

describe('docs/cluster.md', () => {
  const page = readFileSync(join(ROOT, 'docs/cluster.md'), 'utf8');

  it('names only existing folders and files', () => {
    const named = new Set(
      [...page.matchAll(/deploy\/knative\/[\w./-]*\w/g)].map(([path]) => path.slice(FOLDER.length + 1)),
    );
    expect(named.size).toBeGreaterThan(5);
    for (const path of named) expect([...files.keys()].some((it) => `${it}/`.startsWith(`${path}/`))).toBe(true);
  });

  it('describes each component once', () => {
    const names = [...files.keys()].flatMap((path) => /^components\/([^/]+)\/kustomization/.exec(path)?.[1] ?? []);
    expect(names.length).toBeGreaterThan(8);
    const [, table] = /(^\| component.*?what it does.*?\n\n)/ms.exec(page)!;
    const described = [...table!.matchAll(/^\| `deploy\/knative\/components\/([\w-]+)`(, `…-split`)?/gm)].flatMap(
      ([, name, split]) => (split ? [name!, name!.replace(/monolith$/, 'split')] : [name!]),
    );
    expect(described.sort()).toEqual(names.sort());
  });

  it('has the delivery spec of the Broker among the settings that belong together', () => {
    const [, section] = /### Settings that belong together\n(.*?)\n## /s.exec(page)!;
    const { retry, backoffDelay, timeout } = objectsOf('monolith', 'Broker')[0].spec.delivery;
    for (const it of [`retry: ${retry}`, `backoffDelay: ${backoffDelay}`, `timeout: ${timeout}`])
      expect(section).toContain(`\`${it}\``);
    const { timeoutSeconds } = objectsOf('monolith', 'Service')[0].spec.template.spec;
    expect(section).toContain(`\`timeoutSeconds: ${timeoutSeconds}\``);
  });

  /** The patches of the overlays in the page. */
  const patches = [...page.matchAll(/^```yaml\n(.*?)^```/gms)]
    .map(([, text]) => parse(text!) as { patches?: { target: { kind: string }; patch: string }[] })
    .flatMap((it) => (it.patches ? [it.patches] : []));
  const knativeServices = (all: any[]) =>
    all.filter(({ apiVersion, kind }) => kind === 'Service' && apiVersion !== 'v1');

  it.each(VARIANTS)('shows overlays whose patches apply to %s', (variant) => {
    expect(patches.length).toBeGreaterThan(4);
    for (const it of patches) {
      const before = overlay(variant, 'oidc', 'rest-auth', 'public');
      expect(patched(before, it)).not.toEqual(before);
    }
  });

  it('never asks for more instances than a Service may have', () => {
    const all = patches.reduce(patched, overlay('split', 'oidc', 'rest-auth', 'public'));
    const scales = knativeServices(all).map(({ spec: { template } }) => {
      const { 'autoscaling.knative.dev/min-scale': min, 'autoscaling.knative.dev/max-scale': max } =
        template.metadata.annotations;
      return [Number(min), Number(max)] as const;
    });
    expect(scales.filter(([min]) => min === 2).length).toBeGreaterThan(1);
    for (const [min, max] of scales) expect(min).toBeLessThanOrEqual(max);
  });

  it('puts the bundle of certificates where NODE_EXTRA_CA_CERTS of the component oidc finds it', () => {
    const bundle = patches.find((it) =>
      it.some(({ patch }) => /^- .*op: test/.test(patch) && patch.includes('ca-bundle')),
    )!;
    for (const { spec } of knativeServices(patched(overlay('split', 'oidc', 'rest-auth'), bundle))) {
      const { containers, volumes } = spec.template.spec as PodSpec;
      const [{ env, volumeMounts }] = containers as [PodSpec['containers'][number]];
      const path = env.find(({ name }) => name === 'NODE_EXTRA_CA_CERTS')!.value;
      const mount = volumeMounts.find(({ mountPath }) => path.startsWith(`${mountPath}/`))!;
      const { projected } = volumes.find(({ name }) => name === mount.name)!;
      const items = [{ key: 'ca.crt', path: path.slice(mount.mountPath.length + 1) }];
      expect(projected.sources).toContainEqual({ configMap: { name: 'ca-bundle', items } });
    }
    // The file of this name in the ConfigMap.
    expect(page).toMatch(/> ca\.crt\nkubectl -n cabs create configmap ca-bundle --from-file=ca\.crt\n/);
  });

  it('creates the secrets of the monolith, and names the services of split that need a secret', () => {
    const secrets = (variant: string) =>
      new Set(
        objectsOf(variant, 'Service')
          .flatMap(
            ({ spec }) => spec.template.spec.volumes as { projected: { sources: { secret: { name: string } }[] } }[],
          )
          .flatMap(({ projected }) => projected.sources.map(({ secret }) => secret.name)),
      );
    const [, loop] = /^for service in (.+); do$/m.exec(page)!;
    const made = [...loop!.split(' ').map((it) => `${it}-database`), 'mesh-administration'];
    expect(made.sort()).toEqual([...secrets('monolith')].sort());
    for (const name of secrets('split')) expect(page).toContain(`\`${name.replace(/-database$/, '')}\``);
  });
});
