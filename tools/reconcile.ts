import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const USAGE = `npm run reconcile -- [options]

  Compares what every ride that is over should have with what its owners answer, and sends again what is missing. An
  application does that by itself every MESH_RECONCILE_EVERY; this begins a pass now, and tells what it finds.

  --dry-run      only tells what is missing
  --url U        the application, http://localhost:3000 unless told (or MESH_URL)
  MESH_ADMIN_TOKEN is sent along when set.

  The exit code is 0 when the pass reached its end, 1 otherwise.`;

const options = {
  'dry-run': { type: 'boolean', default: false },
  url: { type: 'string', default: process.env.MESH_URL ?? 'http://localhost:3000' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** How long it may be before whoever has begun a pass shows that it is still at it, in ms. */
const PATIENCE_MS = 30_000;

interface Pass {
  readonly module: string;
  readonly isRunning: boolean;
  readonly isDryRun: boolean;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly examined: number;
  readonly missing: Record<string, number>;
  readonly sent: number;
  readonly interrupted?: string;
}

async function call(url: string, method: 'GET' | 'POST'): Promise<Pass[]> {
  const token = process.env.MESH_ADMIN_TOKEN;
  const response = await fetch(url, { method, headers: token ? { authorization: `Bearer ${token}` } : {} });
  const reply = (await response.json()) as { items?: Pass[]; detail?: string; title?: string };
  if (!response.ok) throw new Error(`${response.status}: ${reply.detail ?? reply.title}`);
  return reply.items ?? [];
}

async function run(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) return console.log(USAGE);
  const url = `${values.url.replace(/\/$/, '')}/mesh/reconciliations`;
  const begun = await call(`${url}/run?dry-run=${values['dry-run']}`, 'POST');
  if (begun.length === 0) throw new Error('No module there has a reconcile loop.');
  for (const pass of begun) {
    const ended = await endOf(pass, url);
    tell(ended);
    if (ended.interrupted) process.exitCode = 1;
  }
}

/** Behind one address there may be several processes, and each answers for itself. @throws Error when none knows of it */
async function endOf(begun: Pass, url: string): Promise<Pass> {
  for (let seen = performance.now(); performance.now() - seen < PATIENCE_MS; await wait(200)) {
    const pass = (await call(url, 'GET')).find(({ module }) => module === begun.module);
    if (!pass || pass.startedAt < begun.startedAt) continue;
    // One that began later has looked at everything, too.
    if (pass.finishedAt) return pass;
    if (pass.isRunning) seen = performance.now();
  }
  throw new Error(`${begun.module}: nobody there knows any more of the pass that was begun.`);
}

function tell({ module, examined, missing, sent, isDryRun, interrupted }: Pass): void {
  const found = Object.entries(missing).map(([what, n]) => `${what} ${n}`);
  console.log(`${module}: ${examined} examined, missing: ${found.join(', ') || 'nothing'}`);
  if (isDryRun) console.log('  A dry run: nothing was sent.');
  else if (sent > 0) console.log(`  ${sent} commands were sent again.`);
  if (interrupted) console.log(`  Interrupted: ${interrupted}. The next pass goes on from there.`);
}

try {
  await run();
} catch (error) {
  const { message, code, cause } = error as Error & { code?: string; cause?: { code?: string } };
  const nobody = cause?.code === 'ECONNREFUSED' ? 'Nobody listens there: is the application running?' : message;
  console.error(code?.startsWith('ERR_PARSE_ARGS') ? `${message}\n\n${USAGE}` : nobody);
  process.exitCode = 1;
}
