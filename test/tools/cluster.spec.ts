import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FOLDER } from '../../tools/manifests.js';
import { ROOT } from '../../tools/source.js';
import { files, objectsOf } from '../support/manifests.js';

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
