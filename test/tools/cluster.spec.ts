import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MODULE_NAMES } from '../../src/app.module.js';
import { readConfig } from '../../src/config.js';
import { FOLDER } from '../../tools/manifests.js';
import { ROOT } from '../../tools/source.js';
import { files, objectsOf, VARIANTS } from '../support/manifests.js';

/** The containers of a variant's Services. */
const containersOf = (variant: string) =>
  objectsOf(variant, 'Service').map(({ spec }) => spec.template.spec.containers[0]);

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
        containersOf(variant)
          .flatMap(({ env }) => env as { valueFrom?: { secretKeyRef: { name: string } } }[])
          .flatMap(({ valueFrom }) => (valueFrom ? [valueFrom.secretKeyRef.name] : [])),
      );
    const [, loop] = /^for service in (.+); do$/m.exec(page)!;
    const made = [...loop!.split(' ').map((it) => `${it}-database`), 'mesh-administration'];
    expect(made.sort()).toEqual([...secrets('monolith')].sort());
    for (const name of secrets('split')) expect(page).toContain(`\`${name.replace(/-database$/, '')}\``);
  });
});

describe('The image', () => {
  const stages = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
    .split(/^FROM /m)
    .slice(1);
  const last = stages.at(-1)!.replace(/^#.*\n/gm, '');

  it('runs as a numeric user that is not root', () => {
    expect(/^USER (.+)$/m.exec(last)![1]).toMatch(/^[1-9]\d*(:[1-9]\d*)?$/);
    for (const { securityContext } of VARIANTS.flatMap(containersOf)) {
      expect(securityContext).toMatchObject({
        runAsNonRoot: true,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
      });
    }
  });

  it('starts the application without a shell, so that signals reach it', () => {
    expect(JSON.parse(/^CMD (.+)$/m.exec(last)![1]!)).toEqual(['node', 'dist/src/main.js']);
    expect(last).not.toMatch(/^(ENTRYPOINT|RUN) /m);
    expect(last).toMatch(/^STOPSIGNAL SIGTERM$/m);
  });

  it("listens on the port of REST and of the mesh; a Knative Service routes the mesh's, a plain Service the other", () => {
    const { port, meshPort } = readConfig({ NODE_ENV: 'production', AUTH: 'none' }, MODULE_NAMES);
    expect(/^EXPOSE (.+)$/m.exec(last)![1]).toBe(`${port} ${meshPort}`);
    for (const variant of VARIANTS) {
      for (const { ports } of containersOf(variant)) expect(ports).toEqual([{ containerPort: meshPort }]);
      for (const { spec } of objectsOf(variant, 'v1 Service')) expect(spec.ports[0].targetPort).toBe(port);
    }
  });

  it('gets only the files that the build copies', () => {
    const [everything, ...allowed] = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((it) => /^[^#]/.test(it));
    const copied = [...stages[0]!.matchAll(/^COPY (.+)$/gm)].flatMap(([, paths]) => paths!.split(' ').slice(0, -1));
    expect(everything).toBe('*');
    expect(allowed.map((it) => it.slice(1)).sort()).toEqual(copied.sort());
  });
});
