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

interface Pass {
  readonly module: string;
  readonly isRunning: boolean;
  readonly isDryRun: boolean;
  readonly startedAt: string;
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
  let passes = await call(`${url}/run?dry-run=${values['dry-run']}`, 'POST');
  const isOurs = ({ module }: Pass, begun: Pass[]) => begun.some((it) => it.module === module);
  const begun = passes.filter(({ isRunning }) => isRunning);
  while (passes.some(({ isRunning }) => isRunning)) {
    await wait(200);
    passes = await call(url, 'GET');
  }
  const ended = passes.filter((it) => begun.length === 0 || isOurs(it, begun));
  if (ended.length === 0) throw new Error('No module there has a reconcile loop.');
  for (const pass of ended) tell(pass);
  if (ended.some(({ interrupted }) => interrupted)) process.exitCode = 1;
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
