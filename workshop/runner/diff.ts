import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { folderOf, stepNamed, type Step } from './steps.js';

/**
 * The files of the application that complete a ride. The key is the name of the file in step 6, so that git compares
 * the two; the rest of the application is left out.
 */
export const APPLICATION_FILES: Readonly<Record<string, string>> = {
  'app.module.ts': 'src/app.module.ts',
  'rides/contract.ts': 'src/modules/rides/contract.ts',
  'rides/tables.ts': 'src/modules/rides/tables.ts',
  'rides/request-completion.ts': 'src/modules/rides/request-completion.ts',
  'rides/complete-transit.ts': 'src/modules/rides/complete-transit.ts',
  'rides/settle-transit.ts': 'src/modules/rides/settle-transit.ts',
  'rides/rides.module.ts': 'src/modules/rides/rides.module.ts',
  'geolocation/contract.ts': 'src/modules/geolocation/contract.ts',
  'geolocation/tables.ts': 'src/modules/geolocation/tables.ts',
  'geolocation/update-destination.ts': 'src/modules/geolocation/update-destination.ts',
  'geolocation/geolocation.module.ts': 'src/modules/geolocation/geolocation.module.ts',
  'drivers/contract.ts': 'src/modules/drivers/contract.ts',
  'drivers/tables.ts': 'src/modules/drivers/tables.ts',
  'drivers/calculate-fee.ts': 'src/modules/drivers/calculate-fee.ts',
  'drivers/free-driver.ts': 'src/modules/drivers/free-driver.ts',
  'drivers/drivers.module.ts': 'src/modules/drivers/drivers.module.ts',
  'loyalty/contract.ts': 'src/modules/loyalty/contract.ts',
  'loyalty/tables.ts': 'src/modules/loyalty/tables.ts',
  'loyalty/register-miles.ts': 'src/modules/loyalty/register-miles.ts',
  'loyalty/loyalty.module.ts': 'src/modules/loyalty/loyalty.module.ts',
  'invoicing/contract.ts': 'src/modules/invoicing/contract.ts',
  'invoicing/tables.ts': 'src/modules/invoicing/tables.ts',
  'invoicing/issue-invoice.ts': 'src/modules/invoicing/issue-invoice.ts',
  'invoicing/invoicing.module.ts': 'src/modules/invoicing/invoicing.module.ts',
  'infrastructure/outbox.ts': 'src/infrastructure/outbox/outbox.ts',
  'infrastructure/relay.ts': 'src/infrastructure/outbox/relay.ts',
  'infrastructure/delivery-worker.ts': 'src/infrastructure/delivery/delivery-worker.ts',
  'infrastructure/inbox-receiver.ts': 'src/infrastructure/delivery/inbox-receiver.ts',
};

/** The files of a step, by the names under which git compares them. */
function filesOf(step: Step): Record<string, string> {
  const own = readdirSync(folderOf(step), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [name, join('workshop', step.folder, name)]);
  // Step 2 adds a sidecar and runs the code of step 1.
  const inherited = step.title === 'service-mesh' ? filesOf(stepNamed('naive-split')) : {};
  const ofApplication = step.tables === 'modules' ? APPLICATION_FILES : {};
  return { ...inherited, ...ofApplication, ...(Object.fromEntries(own) as Record<string, string>) };
}

/** Prints what changes from one step to another, as `git diff` does. */
export function showDiff(from: Step, to: Step): void {
  const folder = mkdtempSync(join(tmpdir(), 'workshop-diff-'));
  try {
    for (const step of [from, to]) copyFiles(step, join(folder, step.folder));
    gitDiff(folder, ['--stat', from.folder, to.folder]);
    gitDiff(folder, [from.folder, to.folder]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function copyFiles(step: Step, target: string): void {
  mkdirSync(target, { recursive: true });
  for (const [name, path] of Object.entries(filesOf(step))) {
    mkdirSync(dirname(join(target, name)), { recursive: true });
    cpSync(join(ROOT, path), join(target, name));
  }
}

/** @throws Error when git can't be started */
export function gitDiff(folder: string, words: readonly string[]): void {
  const flags = ['diff', '--no-index', '--no-prefix', '--find-renames', '--ignore-space-change'];
  const { error } = spawnSync('git', [...flags, ...words], { cwd: folder, stdio: 'inherit' });
  if (error) throw new Error(`Can't start git, which shows the differences: ${error.message}`);
}
