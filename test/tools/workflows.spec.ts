import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../../tools/source.js';

const FOLDER = join(ROOT, '.github/workflows');

interface Workflow {
  readonly permissions?: unknown;
  readonly jobs: Record<string, { readonly permissions?: unknown; readonly needs?: string; readonly steps: Step[] }>;
}
interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly env?: object;
}

const texts = new Map(readdirSync(FOLDER).map((name) => [name, readFileSync(join(FOLDER, name), 'utf8')]));
const workflows = new Map([...texts].map(([name, text]) => [name, parse(text) as Workflow]));
const release = workflows.get('release.yml')!;

/** The actions of a workflow that no commit pins, or whose line doesn't name the version. A tag can be moved, a commit can't. */
function unpinned(text: string): string[] {
  const uses = [...text.matchAll(/^[\s-]*uses:(.*)$/gm)].map(([, rest]) => rest!.trim());
  return uses.filter((it) => !/^[\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(it));
}

interface Bill {
  readonly bomFormat: string;
  readonly metadata: { readonly component: { readonly name: string; readonly version: string } };
  readonly components: readonly { readonly name: string; readonly version: string }[];
}

describe('The bill of materials', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  function sbom(...args: string[]) {
    const cache = mkdtempSync(join(tmpdir(), 'cabs-npm-'));
    const env = { PATH: process.env.PATH, npm_config_cache: cache };
    return spawnSync(join(ROOT, '.ci/sbom'), args, { env, encoding: 'utf8' });
  }

  it('names the application and the version of the tag', () => {
    const { status, stdout } = sbom(`v${version}`);
    expect(status).toBe(0);
    expect((JSON.parse(stdout) as Bill).metadata.component).toMatchObject({ name: 'meshy-cabs', version });
  });

  it.each(['v99.0.0', version, ''])('is refused for the tag %j, which is not the version of package.json', (tag) => {
    const { status, stdout, stderr } = sbom(tag);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain(`expected the tag v${version}`);
  });

  it('lists all packages that the application needs to run, and no others', () => {
    const { bomFormat, components } = JSON.parse(sbom().stdout) as Bill;
    expect(bomFormat).toBe('CycloneDX');
    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { version: string; dev?: boolean }>;
    };
    const needed = Object.entries(packages)
      // TypeScript is an optional peer of a library, and installed for development only.
      .filter(([path, { dev }]) => path !== '' && path !== 'node_modules/typescript' && !dev)
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')} ${version}`);
    expect(needed.length).toBeGreaterThan(100);
    expect(new Set(components.map(({ name, version }) => `${name} ${version}`))).toEqual(new Set(needed));
  });
});

describe('Dependabot', () => {
  it('proposes updates of the image, the actions and the packages', () => {
    const { updates } = parse(readFileSync(join(ROOT, '.github/dependabot.yml'), 'utf8')) as {
      updates: { 'package-ecosystem': string; directory: string; groups?: Record<string, object> }[];
    };
    const ecosystems = updates.map((it) => it['package-ecosystem']);
    expect(ecosystems.sort()).toEqual(['docker', 'github-actions', 'npm']);
    for (const { directory } of updates) expect(directory).toBe('/');
    // Each package by itself would be dozens of pull requests a month.
    const npm = updates.find((it) => it['package-ecosystem'] === 'npm')!;
    expect(Object.values(npm.groups!)).toEqual([{ 'update-types': ['minor', 'patch'] }]);
  });
});

describe('The workflows', () => {
  it.each([...texts.keys()])('pin each action of %s by a commit, and name its version', (name) => {
    expect(unpinned(texts.get(name)!)).toEqual([]);
    const used = Object.values(workflows.get(name)!.jobs).flatMap(({ steps }) => steps.filter(({ uses }) => uses));
    expect(used.length).toBeGreaterThan(0);
    // The lines that were checked are all that YAML knows.
    expect([...texts.get(name)!.matchAll(/\buses:/g)]).toHaveLength(used.length);
  });

  it('may read only, except for the job that makes the release, which runs no package', () => {
    for (const { permissions } of workflows.values()) expect(permissions).toEqual({ contents: 'read' });
    const jobs = [...workflows.values()].flatMap(({ jobs }) => Object.values(jobs));
    const writing = jobs.filter(({ permissions }) => permissions !== undefined);
    expect(writing).toEqual([release.jobs.release, release.jobs.package]);
    expect(release.jobs.package!.permissions).toEqual({ contents: 'read', 'id-token': 'write' });
    const commands = release.jobs.release!.steps.flatMap(({ run }) => run ?? []);
    expect(commands.filter((it) => /npm|npx|\.ci\/run/.test(it))).toEqual([]);
  });

  it('release only what has passed the tests, with a bill of materials', () => {
    const { test, release: publish } = release.jobs;
    expect(test!.steps.at(-1)).toEqual({ run: '.ci/run' });
    expect(publish!.needs).toBe('test');
    const [bill, create] = publish!.steps.flatMap(({ run }) => run ?? []);
    const [, file] = /^\.ci\/sbom "\$GITHUB_REF_NAME" > (\S+)$/.exec(bill!)!;
    expect(create).toMatch(/^gh release create /);
    expect(create!.split(' ')).toContain(file);
  });

  it('publish the package after the tests, signed, and give the token to the publishing step alone', () => {
    const { needs, steps } = release.jobs.package!;
    expect(needs).toBe('test');
    const withToken = steps.filter(({ env }) => JSON.stringify(env ?? {}).includes('secrets.'));
    expect(withToken).toEqual([steps.at(-1)]);
    expect(steps.at(-1)!.run).toMatch(/^npm publish --provenance/);
    const versionOf = (path: string) =>
      (JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as { version: string }).version;
    expect(versionOf('package/manifest.json')).toBe(versionOf('package.json'));
  });

  it.each([
    'uses: actions/checkout@v4',
    '- uses: actions/checkout@main # v4.3.1',
    '  - uses: actions/checkout@34e114876b0b11c390a56381ad16ebd13914f8d5',
    '  - uses: actions/checkout@34e1148 # v4.3.1',
    '    uses: docker://alpine:3',
  ])('would be refused with %j', (line) => {
    expect(unpinned(`steps:\n${line}\n`)).toHaveLength(1);
  });
});
