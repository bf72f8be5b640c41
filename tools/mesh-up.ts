import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { welcome } from '../src/demo.js';
import { channelOf } from './channel-option.js';
import { portOf, runCommand } from './command-line.js';
import { Child } from './mesh-up/child.js';
import { planOf, ROOT, type Plan, type Planned } from './mesh-up/plan.js';
import { Printer } from './mesh-up/printer.js';
import { isFree } from './ports.js';

const USAGE = `npm run mesh:up -- [options]

  Starts every module as a process of its own, each with its own database, together with a laptop broker, a process
  that keeps the dead letters, and a gateway as the common address of all modules. Processes that exit are restarted.

  --port N                   port of the gateway; default 3000. Dead letters use N + 1, modules N + 10 and up,
                             their mesh ports N + 30 and up
  --broker-port N            port of the broker; default 8090
  --channel KIND             channel of the broker: synchronous (default) or asynchronous, see npm run mesh -- --help
  --data FOLDER              folder of the databases; default data/split
  --no-seed                  starts without demo data

  The environment is passed on to the modules (MESH_RETRY, …). LOG_LEVEL is warn by default.`;

const options = {
  port: { type: 'string', default: '3000' },
  'broker-port': { type: 'string', default: '8090' },
  channel: { type: 'string', default: 'synchronous' },
  data: { type: 'string', default: 'data/split' },
  'no-seed': { type: 'boolean', default: false },
} as const;

/** Longest wait until all processes are ready, in ms. */
const START_MS = 90_000;
/** Variables of the environment that the plan sets for each process, and that are not passed on. */
const PLANNED =
  /^(PORT|REST_PORT|MESH_PORT|DATABASE_URL(_FILE)?|MODULES|SEED|NODE_ENV|MESH_TRANSPORT|MESH_OIDC_\w+|K_\w+|USVC_\w+)$/;

/** Groups of processes in the order in which they are stopped: senders before receivers. */
function stopOrder({ gateway, deadLetters, modules, broker }: Plan): Planned[][] {
  return [[gateway], [...modules, deadLetters], [broker]];
}

async function startAll(plan: Plan, seed: 'demo' | 'none'): Promise<void> {
  const isColoured = process.env.FORCE_COLOR !== undefined || (process.stdout.isTTY && !process.env.NO_COLOR);
  const names = stopOrder(plan).flatMap((group) => group.map(({ name }) => name));
  const printer = new Printer(names, isColoured);
  const environment = {
    LOG_LEVEL: 'warn',
    SHUTDOWN_GRACE: 'PT5S',
    ...(isColoured && { FORCE_COLOR: '1' }),
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !PLANNED.test(name))),
  };
  const groups = stopOrder(plan).map((group) => group.map((it) => new Child(it, environment, printer)));
  const children = groups.flat();
  let isStopping = false;
  const stop = async (code: number) => {
    // The second signal kills all processes at once.
    if (isStopping) return children.forEach((child) => child.kill());
    isStopping = true;
    for (const group of groups) await Promise.all(group.map((child) => child.end()));
    process.exit(code);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!isStopping) console.log('\nStopping …');
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
  const rows = children.map(({ planned: { name, url, mesh, database }, pid }) => {
    return [name, String(pid), url, mesh?.url ?? '', database ?? ''];
  });
  printer.table([['PROCESS', 'PID', 'URL', 'MESH', 'DATABASE'], ...rows]);
  console.log(welcome(plan.gateway.url, seed));
  console.log('Each message is printed below. Killed processes are restarted. Ctrl-C stops all processes.\n');
}

/** @throws Error before any process is started */
async function assertPortsAreFree(planned: readonly Planned[]): Promise<void> {
  const all = planned.flatMap(({ name, port, mesh }) => [{ name, port }, ...(mesh ? [{ name, port: mesh.port }] : [])]);
  const free = await Promise.all(all.map(({ port }) => isFree(port)));
  const taken = all.filter((_, index) => !free[index]).map(({ name, port }) => `${port} (${name})`);
  if (taken.length === 0) return;
  const ports = taken.length === 1 ? `Port ${taken[0]} is` : `Ports ${taken.join(', ')} are`;
  const advice = 'stop the processes that use them, or choose others with --port and --broker-port';
  throw new Error(`${ports} taken: ${advice}.`);
}

await runCommand({ usage: USAGE, options }, async ({ data, channel, ...values }) => {
  const seed = values['no-seed'] ? 'none' : 'demo';
  const ports = { port: portOf('--port', values.port), brokerPort: portOf('--broker-port', values['broker-port']) };
  const plan = planOf({ ...ports, channel: channelOf(channel), data, seed });
  await assertPortsAreFree(stopOrder(plan).flat());
  mkdirSync(resolve(ROOT, data), { recursive: true });
  await startAll(plan, seed);
});
