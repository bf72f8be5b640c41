import 'reflect-metadata';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Agent } from 'undici';
import { exchange, sendJson, sendNotFound, sendProblem, type Exchange } from './gateway/answers.js';
import { keeperOf, listDeadLetters, replayDeadLetters } from './gateway/dead-letters.js';
import { forward, type Member } from './gateway/forwarding.js';
import { Gathering, Refused, Unreachable } from './gateway/aggregator.js';
import { routesOf, RouteTable, type ModuleRoute, type Route } from './gateway/routes.js';

const USAGE = `npx tsx tools/gateway.ts [options]

  One address for modules that run in processes of their own, as npm run mesh:up starts it. A development tool.

  --port N                   3000 unless told; the loopback address only
  --module NAME=URL          where a module lives, for each of them
  --dead-letters URL         the process that keeps dead letters
  --broker URL               a laptop broker, which may keep some, too`;

export interface FrontDoorOptions {
  /** What the modules answer. */
  readonly routes: readonly ModuleRoute[];
  /** Base URLs by module. */
  readonly modules: Readonly<Record<string, string>>;
  readonly deadLetters?: string;
  readonly broker?: string;
  /** 0 for one that is free. */
  readonly port: number;
}

export interface FrontDoor {
  readonly url: string;
  /** Lets what is under way end, for a while. */
  stop(): Promise<void>;
}

/** Longest wait for an answer, in ms; `Prefer: wait` may take 10 s of it. */
const PATIENCE_MS = 30_000;
const GRACE_MS = 3000;

/**
 * Answers every path of the application at one address: those of a module are its process's, while /mesh, /health and
 * /api are gathered from all.
 * @throws Error when the port can't be had, or nobody has said where a module lives
 */
export async function startFrontDoor(options: FrontDoorOptions): Promise<FrontDoor> {
  const { routes, modules, deadLetters, broker } = options;
  const homeless = routes.find(({ module }) => !modules[module]);
  if (homeless) throw new Error(`Nobody has said where ${homeless.module} lives: --module ${homeless.module}=URL`);
  const table = new RouteTable(routes);
  const members = Object.entries(modules).map(([name, url]) => ({ name, url }));
  if (deadLetters) members.push({ name: 'dead-letters', url: deadLetters });
  const dispatcher = new Agent({
    connect: { timeout: 2000 },
    headersTimeout: PATIENCE_MS,
    bodyTimeout: PATIENCE_MS,
  });
  const around = { members, dispatcher, ...(broker && { broker: { name: 'broker', url: broker } }) };

  const own = new RouteTable<OwnRoute>([
    ...gathered(table),
    ...keeping.map((route) => ({
      ...route,
      answer: async (to: Exchange, gathering: Gathering, id: string) =>
        forward(await keeperOf(gathering, id), to, dispatcher),
    })),
  ]);
  const serve = async (to: Exchange) => {
    const { request, method, path } = to;
    // Whose path it is also says what it is for other methods.
    const module = (table.find(method, path) ?? table.findPath(path))?.route.module;
    if (module) return forward({ name: module, url: modules[module]! }, to, dispatcher);
    const { authorization } = request.headers;
    const headers = { 'x-correlation-id': to.correlationId, ...(authorization && { authorization }) };
    const gathering = new Gathering(around, headers);
    if (/^\/api(\/|$)/i.test(path)) return forward(await anyOf(members, gathering), to, dispatcher);
    const found = own.find(method, path);
    if (!found) return sendNotFound(to);
    return found.route.answer(to, gathering, found.parameters.id ?? '');
  };
  let underWay = 0;
  const server = createServer((request, response) => {
    underWay++;
    response.once('close', () => underWay--);
    const to = exchange(request, response);
    serve(to).catch((error: unknown) => apologise(to, error));
  });
  server.listen(options.port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const end = Date.now() + GRACE_MS; underWay > 0 && Date.now() < end;) await wait(10);
      server.closeAllConnections();
      await closed;
      await dispatcher.destroy();
    },
  };
}

interface OwnRoute extends Route {
  answer(to: Exchange, gathering: Gathering, id: string): Promise<void>;
}

/** What no single process knows. */
function gathered(table: RouteTable<ModuleRoute>): OwnRoute[] {
  const reply = (status: number, gather: (gathering: Gathering, query: string) => Promise<object>) => ({
    answer: async (to: Exchange, gathering: Gathering) => sendJson(to, status, await gather(gathering, to.query)),
  });
  const shown = (path: string) =>
    /^\/(health|mesh\/(outbox|dead-letters|reconciliations))\b/.test(path) ||
    table.findPath(path.replace(/[{}]/g, '')) !== undefined;
  return [
    { method: 'GET', path: '/health/live', ...reply(200, async () => ({ status: 'live' })) },
    { method: 'GET', path: '/health/ready', ...reply(200, (it) => it.ready()) },
    { method: 'GET', path: '/api-json', ...reply(200, (it) => it.document(shown)) },
    { method: 'GET', path: '/mesh/outbox', ...reply(200, (it) => it.outbox()) },
    { method: 'GET', path: '/mesh/dead-letters', ...reply(200, listDeadLetters) },
    { method: 'GET', path: '/mesh/reconciliations', ...reply(200, (it) => it.reconciliations('GET', '')) },
    {
      method: 'POST',
      path: '/mesh/reconciliations/run',
      ...reply(202, (it, query) => it.reconciliations('POST', `/run?${query}`)),
    },
    { method: 'POST', path: '/mesh/dead-letters/replay', ...reply(202, replayDeadLetters) },
  ];
}

/** What is done with one dead letter is done by whoever keeps it. */
const keeping: readonly Route[] = [
  { method: 'GET', path: '/mesh/dead-letters/:id' },
  { method: 'DELETE', path: '/mesh/dead-letters/:id' },
  { method: 'POST', path: '/mesh/dead-letters/:id/replay' },
];

/** The API page is the same everywhere. @throws Unreachable */
async function anyOf(members: readonly Member[], gathering: Gathering): Promise<Member> {
  for (const member of members) {
    if ((await gathering.ask(member, 'GET', '/health/live'))?.status === 200) return member;
  }
  throw new Unreachable('No process can be asked for the page now');
}

function apologise(to: Exchange, error: unknown): void {
  if (to.response.headersSent || to.response.destroyed) return void to.response.destroy();
  if (error instanceof Unreachable) return sendProblem(to, 503, error.message);
  if (error instanceof Refused) {
    const { status, body } = error.told;
    to.response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
    return sendJson(to, status, { ...body, instance: to.path });
  }
  console.error(error);
  sendProblem(to, 500, 'The front door failed');
}

async function run(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '3000' },
      module: { type: 'string', multiple: true, default: [] },
      'dead-letters': { type: 'string' },
      broker: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return console.log(USAGE);
  const pairs = values.module.map((it) => it.split(/=(.*)/s, 2) as [string, string]);
  const { MODULES } = await import('../src/app.module.js');
  const door = await startFrontDoor({
    routes: routesOf(MODULES),
    modules: Object.fromEntries(pairs),
    port: Number(values.port),
    deadLetters: values['dead-letters'],
    broker: values.broker,
  });
  console.log(`The front door is at ${door.url}`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void door.stop().then(() => process.exit(0)));
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  run().catch((error: Error) => {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exitCode = 1;
  });
}
