import 'reflect-metadata';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Agent } from 'undici';
import { configureServer } from '../src/infrastructure/http/configure-server.js';
import { Connections } from '../src/infrastructure/http/connections.js';
import { otherSiteProblem, protocolProblem } from '../src/infrastructure/http/request-checks.js';
import { namedUrlsOf, portOf, runCommand, urlOf } from './command-line.js';
import { UsageError } from './errors.js';
import { exchange, passedOn, sendJson, sendNotFound, sendProblem, type Exchange } from './gateway/answers.js';
import { isForAnyProcess, isOpened } from './gateway/console.js';
import { keeperOf } from './gateway/dead-letters.js';
import { forward, type Service } from './gateway/forwarding.js';
import { Aggregator, Unreachable } from './gateway/aggregator.js';
import { aggregatedRoutes, deadLetterRoutes, type OwnRoute } from './gateway/own-routes.js';
import { ambiguityOf } from './gateway/request-target.js';
import { sendError } from './gateway/send-error.js';
import { routesOf, RouteTable, type ModuleRoute } from './gateway/routes.js';

const USAGE = `npx tsx tools/gateway.ts [options]

  Starts the gateway: one address for modules that run as processes of their own. npm run mesh:up starts it, too. It is
  a development tool.

  --port N                   port on the loopback address; default 3000
  --module NAME=URL          address of a module; once for each module
  --mesh NAME=URL            address of the mesh's port of a module, where that is another one
  --dead-letters URL         address of the process that keeps dead letters
  --broker URL               address of a laptop broker, which keeps messages and dead letters, too`;

export interface GatewayOptions {
  /** The routes of all modules. */
  readonly routes: readonly ModuleRoute[];
  /** Base URLs by module. */
  readonly modules: Readonly<Record<string, string>>;
  /** Base URLs of the mesh's ports by module, where they differ. */
  readonly mesh?: Readonly<Record<string, string>>;
  readonly deadLetters?: string;
  readonly broker?: string;
  /** 0 for a free port. */
  readonly port: number;
}

export interface Gateway {
  readonly url: string;
  /** Stops listening, and waits up to 3 s for requests in flight. */
  stop(): Promise<void>;
}

/** Longest wait for an answer, in ms. `Prefer: wait` may take 10 s of it. */
const RESPONSE_TIMEOUT_MS = 30_000;
/** Connections to each process. A process lets as many requests in. */
const MAX_CONNECTIONS = 128;
/** How long stop() waits for requests in flight, in ms. */
const GRACE_MS = 3000;

/**
 * Serves all paths of the application at one address. Requests to a module's path are forwarded to the process of the
 * module; answers of /mesh, /health and /api are aggregated from all processes.
 * @throws UsageError when the address of a module is missing, Error when the port is taken
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { routes, modules, mesh, deadLetters, broker } = options;
  const unknown = routes.find(({ module }) => !modules[module]);
  if (unknown) throw new UsageError(`Missing --module ${unknown.module}=URL: the address of ${unknown.module}.`);
  const table = new RouteTable(routes);
  const keeper: Record<string, string> = deadLetters ? { 'dead-letters': deadLetters } : {};
  const servicesAt = (addresses: Readonly<Record<string, string>>) =>
    Object.entries({ ...addresses, ...keeper }).map(([name, url]) => ({ name, url }));
  const services = servicesAt({ ...modules, ...mesh });
  const pages = servicesAt(modules);
  const dispatcher = new Agent({
    connect: { timeout: 2000 },
    headersTimeout: RESPONSE_TIMEOUT_MS,
    bodyTimeout: RESPONSE_TIMEOUT_MS,
    connections: MAX_CONNECTIONS,
  });
  const upstreams = { services, pages, dispatcher, ...(broker && { broker: { name: 'broker', url: broker } }) };

  const ownRoutes = new RouteTable<OwnRoute>([
    ...aggregatedRoutes(table),
    ...deadLetterRoutes.map((route) => ({
      ...route,
      answer: async (to: Exchange, aggregator: Aggregator, id: string) =>
        forward(await keeperOf(aggregator, id), to, dispatcher),
    })),
  ]);
  const ended = new WeakSet<Socket>();
  const serve = async (to: Exchange) => {
    const { request, method, path } = to;
    const ambiguity = ambiguityOf(request.url ?? '');
    const malformed = ambiguity ?? protocolProblem(request)?.message;
    if (malformed) {
      // Where the next request begins is not certain, so the connection ends here.
      ended.add(request.socket);
      to.response.shouldKeepAlive = false;
      return sendProblem(to, 400, malformed);
    }
    const otherSite = otherSiteProblem(request, true);
    if (otherSite) return sendProblem(to, 403, otherSite.message);
    if (isOpened(to)) {
      to.response.setHeader('Location', '/mesh/console');
      return sendJson(to, 302, {});
    }
    // A module also answers wrong methods on its own paths.
    const module = (table.find(method, path) ?? table.findPath(path))?.route.module;
    if (module) return forward({ name: module, url: modules[module]! }, to, dispatcher);
    const aggregator = new Aggregator(upstreams, passedOn(to));
    if (isForAnyProcess(to)) return forward(await anyOf(services, aggregator), to, dispatcher);
    if (/^\/api(\/|$)/i.test(path)) return forward(await anyOf(pages, aggregator), to, dispatcher);
    const found = ownRoutes.find(method, path);
    if (!found) return sendNotFound(to, ownRoutes.methods(path));
    return found.route.answer(to, aggregator, found.parameters.id ?? '');
  };
  let inFlight = 0;
  const connections = new Connections();
  const server = createServer((request, response) => {
    // Node goes on with requests that it has received already.
    if (ended.has(request.socket)) return;
    // One request of a connection after the other: a client that doesn't read must not make the processes answer many.
    connections.take(request.socket, response, () => {
      inFlight++;
      response.once('close', () => inFlight--);
      response.shouldKeepAlive &&= server.listening;
      const to = exchange(request, response);
      serve(to).catch((error: unknown) => sendError(to, error));
    });
  });
  configureServer(server, connections);
  connections.watch(server);
  // Bodies are forwarded as they come, so Node may answer `Expect: 100-continue` at once.
  server.removeAllListeners('checkContinue');
  server.listen(options.port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const end = Date.now() + GRACE_MS; inFlight > 0 && Date.now() < end;) await wait(10);
      server.closeAllConnections();
      await closed;
      await dispatcher.destroy();
    },
  };
}

/** @returns a process that is running: the API page is the same everywhere. @throws Unreachable */
async function anyOf(services: readonly Service[], aggregator: Aggregator): Promise<Service> {
  for (const service of services) {
    if ((await aggregator.request(service, 'GET', '/health/live'))?.status === 200) return service;
  }
  throw new Unreachable('No process is running that could serve this page');
}

const commandOptions = {
  port: { type: 'string', default: '3000' },
  module: { type: 'string', multiple: true, default: [] as string[] },
  mesh: { type: 'string', multiple: true, default: [] as string[] },
  'dead-letters': { type: 'string' },
  broker: { type: 'string' },
} as const;

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runCommand({ usage: USAGE, options: commandOptions }, async (values) => {
    const modules = namedUrlsOf('--module', values.module);
    const mesh = namedUrlsOf('--mesh', values.mesh);
    const deadLetters = values['dead-letters'];
    const port = portOf('--port', values.port);
    const { MODULES, MODULE_NAMES } = await import('../src/app.module.js');
    for (const [option, urls] of Object.entries({ module: modules, mesh })) {
      const unknown = Object.keys(urls).find((it) => !MODULE_NAMES.includes(it));
      if (unknown) throw new UsageError(`Unknown --${option} ${unknown}: expected one of ${MODULE_NAMES.join(', ')}.`);
    }
    const gateway = await startGateway({
      routes: routesOf(MODULES),
      modules,
      mesh,
      port,
      ...(deadLetters !== undefined && { deadLetters: urlOf('--dead-letters', deadLetters) }),
      ...(values.broker !== undefined && { broker: urlOf('--broker', values.broker) }),
    });
    console.log(`The gateway listens at ${gateway.url}`);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => void gateway.stop().then(() => process.exit(0)));
    }
  });
}
