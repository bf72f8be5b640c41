import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { folderOf, STEPS, type Step } from './steps.js';

/** What takes part in completing a ride, of an application that can do more: where it is, by what it is compared with. */
const APPLICATION: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.entries({
      rides: ['contract', 'tables', 'request-completion', 'complete-transit', 'settle-transit', 'rides.module'],
      geolocation: ['contract', 'tables', 'update-destination', 'geolocation.module'],
      drivers: ['contract', 'tables', 'calculate-fee', 'driver-free', 'drivers.module'],
      loyalty: ['contract', 'tables', 'register-miles', 'loyalty.module'],
      invoicing: ['contract', 'tables', 'issue-invoice', 'invoicing.module'],
    }).flatMap(([module, files]) => files.map((it) => [`${module}/${it}.ts`, `src/modules/${module}/${it}.ts`])),
  ),
  'app.module.ts': 'src/app.module.ts',
  ...Object.fromEntries(
    ['outbox', 'receiver', 'consumer-relay'].map((it) => [
      `infrastructure/${it}.ts`,
      `src/infrastructure/messaging/${it}.ts`,
    ]),
  ),
};

/** The files of a step by the names under which they are compared. */
function filesOf(step: Step): Record<string, string> {
  const own = readdirSync(folderOf(step), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [name, join('workshop', step.folder, name)]);
  // A mesh is put beside an application that stays as it is.
  const inherited = step.title === 'service-mesh' ? filesOf(STEPS[1]!) : {};
  const ofApplication = step.tables === 'modules' ? APPLICATION : {};
  return { ...inherited, ...ofApplication, ...(Object.fromEntries(own) as Record<string, string>) };
}

/** Shows what changes from a step to another one, as git does. */
export function showDiff(from: Step, to: Step): void {
  const folder = mkdtempSync(join(tmpdir(), 'workshop-diff-'));
  try {
    for (const step of [from, to]) layOut(step, join(folder, step.folder));
    git(folder, ['--stat', from.folder, to.folder]);
    git(folder, [from.folder, to.folder]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function layOut(step: Step, target: string): void {
  mkdirSync(target, { recursive: true });
  for (const [name, path] of Object.entries(filesOf(step))) {
    mkdirSync(dirname(join(target, name)), { recursive: true });
    cpSync(join(ROOT, path), join(target, name));
  }
}

/** @throws Error where there is no git */
export function git(folder: string, words: readonly string[]): void {
  const flags = ['diff', '--no-index', '--no-prefix', '--find-renames', '--ignore-space-change'];
  const { error } = spawnSync('git', [...flags, ...words], { cwd: folder, stdio: 'inherit' });
  if (error) throw new Error(`git shows differences, and can't be started: ${error.message}`);
}
