import { setTimeout as wait } from 'node:timers/promises';
import { request as send, type Dispatcher } from 'undici';
import { DEMO_ACTIONS } from '../../src/demo-actions.js';
import { readJson } from '../../src/infrastructure/http/json-body.js';
import { SECURITY_HEADERS } from '../../src/infrastructure/http/security-headers.js';
import { passedOn, sendJson, sendProblem, type Exchange } from './answers.js';
import { ErrorAnswer, type Aggregator, type Answer } from './aggregator.js';
import type { Service } from './forwarding.js';

/* The console of all processes: the page of any of them, with the facts and the streams of all. */

/** How long it takes until the stream of a process that has ended is looked for again, in ms. */
const AGAIN_MS = 1000;

interface Session extends Record<string, unknown> {
  readonly role: string;
  readonly consumers: readonly string[];
}

interface Topology extends Record<string, unknown> {
  readonly modules: readonly { readonly name: string; readonly isHosted: boolean }[];
}

/** Whether any process can answer: a file of the console, or a session, which every process with the same token knows. */
export function isForAnyProcess({ method, path }: Exchange): boolean {
  if (path === '/mesh/console/session') return method === 'POST' || method === 'DELETE';
  return /^\/mesh\/console(\/(app\.(js|css)|icon\.svg))?\/?$/.test(path);
}

/** Whether a browser opens the address of the application: it gets the console. */
export function isOpened({ method, path, request: { headers } }: Exchange): boolean {
  return method === 'GET' && path === '/' && Boolean(headers.accept?.includes('text/html'));
}

/** What the session may do, at all processes. @throws ErrorAnswer */
export async function session(aggregator: Aggregator): Promise<Session & { actions: object[] }> {
  const sessions = await bodiesOf<Session>(aggregator, '/mesh/console/session');
  const actions = DEMO_ACTIONS.map(({ name, label }) => ({ name, label }));
  return { ...sessions[0]!, consumers: sessions.flatMap(({ consumers }) => consumers), actions };
}

/** The modules that any process hosts, and the messages, which every process knows. @throws ErrorAnswer */
export async function topology(aggregator: Aggregator): Promise<object> {
  const all = await bodiesOf<Topology>(aggregator, '/mesh/console/topology');
  const hosted = new Set(all.flatMap(({ modules }) => modules.filter((it) => it.isHosted).map(({ name }) => name)));
  const modules = all[0]?.modules.map(({ name }) => ({ name, isHosted: hosted.has(name) }));
  return { ...all[0], modules, broker: aggregator.upstreams.broker?.url ?? all[0]?.broker };
}

/** Runs an action of the demo against the gateway itself. @throws ErrorAnswer */
export async function act(to: Exchange, aggregator: Aggregator, name: string): Promise<void> {
  const { role } = await session(aggregator);
  if (role !== 'administrator') return sendProblem(to, 403, 'This token may only read: use the administration token');
  const action = DEMO_ACTIONS.find((it) => it.name === name);
  if (!action) return sendProblem(to, 404, `There is no action ${name}`);
  try {
    sendJson(to, 202, { message: await action.runAt(`http://${to.request.headers.host}`) });
  } catch (error) {
    sendProblem(to, 409, (error as Error).message);
  }
}

/** Disturbs a consumer, in the process that hosts it. */
export async function disturb(to: Exchange, aggregator: Aggregator): Promise<void> {
  const body = await readJson(to.request, to.response).catch(() => undefined);
  const consumer = (body as { consumer?: unknown } | undefined)?.consumer;
  const service = aggregator.upstreams.services.find(({ name }) => name === consumer);
  if (!service) return sendProblem(to, 404, 'consumer: no process hosts this module');
  const answer = await aggregator.post(service, '/mesh/console/faults', body as object);
  if (!answer) return sendProblem(to, 503, `${service.name} is not running now`);
  sendJson(to, answer.status, answer.body);
}

/** Kills the process of a module; mesh:up starts it again. */
export async function kill(to: Exchange, aggregator: Aggregator): Promise<void> {
  const module = new URLSearchParams(to.query).get('module');
  const { services } = aggregator.upstreams;
  const service = module === null ? services[0] : services.find(({ name }) => name === module);
  const answer = service && (await aggregator.post(service, '/mesh/console/kill'));
  if (!answer) return sendProblem(to, 404, `module: no process hosts ${module}`);
  sendJson(to, answer.status, answer.body);
}

/** The Server-Sent Events of all processes, until the browser goes. @throws ErrorAnswer */
export async function stream(to: Exchange, aggregator: Aggregator): Promise<void> {
  await session(aggregator);
  const { services, dispatcher } = aggregator.upstreams;
  const { response } = to;
  const left = new AbortController();
  response.once('close', () => left.abort());
  response.writeHead(200, { ...SECURITY_HEADERS, 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' });
  response.flushHeaders();
  for (const service of services) void copyEvents(service, dispatcher, to, left.signal);
}

async function copyEvents({ url }: Service, dispatcher: Dispatcher, to: Exchange, signal: AbortSignal): Promise<void> {
  const { response } = to;
  const headers = passedOn(to);
  while (!signal.aborted) {
    try {
      const answer = await send(`${url}/mesh/console/stream`, { headers, dispatcher, signal });
      if (answer.statusCode !== 200) await answer.body.dump();
      else {
        let text = '';
        for await (const chunk of answer.body.setEncoding('utf8') as AsyncIterable<string>) {
          text += chunk;
          const end = text.lastIndexOf('\n\n') + 2;
          // Whole events only: those of other processes come in between.
          if (end > 1 && !response.writableNeedDrain) response.write(text.slice(0, end));
          if (end > 1) text = text.slice(end);
        }
      }
    } catch {
      // It has ended, or isn't there yet.
    }
    await wait(AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** @throws ErrorAnswer when a process refuses the request */
async function bodiesOf<Body>(aggregator: Aggregator, path: string): Promise<Body[]> {
  const { services } = aggregator.upstreams;
  const answers = await Promise.all(services.map((it) => aggregator.request(it, 'GET', path)));
  const received = answers.filter((it): it is Answer => it !== undefined);
  const refused = received.find(({ status }) => status >= 400);
  if (refused) throw new ErrorAnswer(refused);
  return received.map(({ body }) => body as Body);
}
