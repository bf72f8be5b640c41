import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { welcome } from '../src/demo.js';
import { Child } from './mesh-up/child.js';
import { planOf, ROOT, type Plan, type Planned } from './mesh-up/plan.js';
import { Printer } from './mesh-up/printer.js';
import { isFree } from './ports.js';

const USAGE = `npm run mesh:up -- [options]

  Every module in a process of its own, with a database of its own; a laptop broker between them, a process that keeps
  the dead letters, and a front door at which all of them have one address. What dies is started again.

  --port N                   of the front door, 3000 unless told; dead letters at N + 1, the modules from N + 10 on
  --broker-port N            8090 unless told
  --data FOLDER              of the databases, data/split unless told
  --no-seed                  without the demo

  LOG_LEVEL, MESH_RETRY and the like are handed on to the modules, which log warnings and errors unless told.`;

const options = {
  port: { type: 'string', default: '3000' },
  'broker-port': { type: 'string', default: '8090' },
  data: { type: 'string', default: 'data/split' },
  'no-seed': { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The longest that all of them may take to start, in ms. */
const START_MS = 90_000;
/** Variables that say where a process is and what it hosts: here that is the plan's. */
const PLANNED = /^(PORT|DATABASE_URL|MODULES|SEED|NODE_ENV|MESH_TRANSPORT|MESH_OIDC_\w+|K_\w+|USVC_\w+)$/;

class Usage extends Error {}

async function run(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) return console.log(USAGE);
  const { port, 'broker-port': brokerPort, data, 'no-seed': isBare } = values;
  if (![port, brokerPort].every((it) => /^\d{1,5}$/.test(it))) throw new Usage('A port is a number.');
  const seed = isBare ? 'none' : 'demo';
  const plan = planOf({ port: Number(port), brokerPort: Number(brokerPort), data, seed });
  await refuseTakenPorts(inOrder(plan).flat());
  mkdirSync(resolve(ROOT, data), { recursive: true });
  await startAll(plan, seed);
}

/** In the order in which they end: who is asked first, who is told last. */
function inOrder({ frontDoor, deadLetters, modules, broker }: Plan): Planned[][] {
  return [[frontDoor], [...modules, deadLetters], [broker]];
}

async function startAll(plan: Plan, seed: 'demo' | 'none'): Promise<void> {
  const isColoured = process.env.FORCE_COLOR !== undefined || (process.stdout.isTTY && !process.env.NO_COLOR);
  const names = inOrder(plan).flatMap((group) => group.map(({ name }) => name));
  const printer = new Printer(names, isColoured);
  const environment = {
    LOG_LEVEL: 'warn',
    SHUTDOWN_GRACE: 'PT5S',
    ...(isColoured && { FORCE_COLOR: '1' }),
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !PLANNED.test(name))),
  };
  const groups = inOrder(plan).map((group) => group.map((it) => new Child(it, environment, printer)));
  const children = groups.flat();
  let isStopping = false;
  const stop = async (code: number) => {
    // Asked twice: at once.
    if (isStopping) return children.forEach((child) => child.kill());
    isStopping = true;
    for (const group of groups) await Promise.all(group.map((child) => child.end()));
    process.exit(code);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!isStopping) console.log('\nEnding …');
      void stop(0);
    });
  }
  console.log(`Starting ${names.join(', ')} …`);
  try {
    await Promise.all(children.map((child) => child.start(START_MS)));
  } catch (error) {
    console.error((error as Error).message);
    return stop(1);
  }
  if (isStopping) return;
  const rows = children.map(({ planned: { name, url, database }, pid }) => [name, String(pid), url, database ?? '']);
  printer.table([['PROCESS', 'PID', 'URL', 'DATABASE'], ...rows]);
  console.log(welcome(plan.frontDoor.url, seed));
  console.log(
    'Each message follows as it crosses the mesh. Kill what you like: it is started again. Ctrl-C ends it all.\n',
  );
}

/** @throws Error of one line, before anything has been started */
async function refuseTakenPorts(planned: readonly Planned[]): Promise<void> {
  const free = await Promise.all(planned.map(({ port }) => isFree(port)));
  const taken = planned.filter((_, index) => !free[index]).map(({ name, port }) => `${port} (${name})`);
  if (taken.length === 0) return;
  const ports = taken.length === 1 ? `Port ${taken[0]} is` : `Ports ${taken.join(', ')} are`;
  const what = 'end what listens there, let an earlier mesh:up finish ending, or choose others';
  throw new Error(`${ports} taken: ${what} with --port and --broker-port.`);
}

try {
  await run();
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  const isMisuse = error instanceof Usage || code?.startsWith('ERR_PARSE_ARGS');
  console.error(isMisuse ? `${message}\n\n${USAGE}` : message);
  process.exitCode = 1;
}
