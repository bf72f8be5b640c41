import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';

/*
 * A server of the console without a mesh: it invents what happens, for rates that a test can't make. Its names hold HTML.
 */

export const HOSTILE_NAME = '<img src=x onerror="window.hacked = true">';
const MODULES = [HOSTILE_NAME, ...Array.from({ length: 9 }, (_, n) => `module-${n}`)];
/** Messages that each module handles in a second. */
const RATE = 1000;
/** Edges that a process tells apart, at most. */
const EDGES = 200;
const FILES: Record<string, string> = {
  'app.js': 'text/javascript',
  'app.css': 'text/css',
  'icon.svg': 'image/svg+xml',
};
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'";

export class InventedMesh {
  private readonly viewers = new Set<ServerResponse>();
  /** Whether the stream is refused, as by a gateway without a process behind it. */
  isDown = false;
  private readonly server = createServer(({ url = '' }, response) => this.answer(url.split('?')[0]!, response));
  private readonly timer = setInterval(() => this.tell(), 1000);

  async start(): Promise<string> {
    await once(this.server.listen(0, '127.0.0.1'), 'listening');
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Breaks the stream, and refuses new ones until it is up again. */
  goDown(): void {
    this.isDown = true;
    for (const viewer of this.viewers) viewer.destroy();
  }

  private tell(): void {
    for (const viewer of this.viewers) {
      for (const process of MODULES.keys()) viewer.write(`event: state\ndata: ${JSON.stringify(stateOf(process))}\n\n`);
    }
  }

  private answer(path: string, response: ServerResponse): void {
    const file = path.replace(/^\/mesh\/console\/?/, '') || 'index.html';
    const send = (type: string, text: string) =>
      response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY }).end(text);
    const json = (body: object) => send('application/json', JSON.stringify(body));
    if (file === 'session')
      return void json({ role: 'reader', isDevelopment: false, needsToken: false, consumers: MODULES, actions: [] });
    if (file === 'topology') return void json(topology());
    if (file === 'stream' && this.isDown) return void response.writeHead(503).end();
    if (file !== 'stream')
      return void send(FILES[file] ?? 'text/html', readFileSync(join(ROOT, 'console/dist', file), 'utf8'));
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    this.viewers.add(response);
    response.once('close', () => this.viewers.delete(response));
  }
}

const next = (index: number) => MODULES[(index + 1) % MODULES.length]!;

function topology() {
  const messages = MODULES.flatMap((owner, index) =>
    ['command', 'event', 'query'].map((kind) => {
      const [senders, consumers] = kind === 'event' ? [[owner], [next(index)]] : [[next(index)], [owner]];
      const name = `${kind} ${index}`;
      const handlers = consumers.map((module) => ({ module, name: 'Handler' }));
      return { type: name, name, kind, owner, senders, consumers, handlers, schema: {}, example: HOSTILE_NAME };
    }),
  );
  return {
    application: 'invented',
    broker: null,
    modules: MODULES.map((name) => ({ name, isHosted: true })),
    messages,
  };
}

function stateOf(index: number) {
  const module = MODULES[index]!;
  const edges = Array.from({ length: EDGES }, (_, n) => ({
    type: n === 0 ? `command ${index}` : `${HOSTILE_NAME} ${n}`,
    sender: next(index),
    consumer: module,
    count: RATE / EDGES,
    failed: n % 2,
  }));
  const samples = edges.slice(0, 20).map(({ type, sender, consumer }, n) => {
    return { id: `${Date.now()} ${n}`, type, subject: HOSTILE_NAME, sender, consumer, outcome: 'handled' };
  });
  const versions = { node: 'v20', application: HOSTILE_NAME };
  const process = { id: module, pid: index, application: HOSTILE_NAME, modules: [module], versions };
  return {
    at: new Date().toISOString(),
    process: { ...process, startedAt: new Date(0).toISOString() },
    transport: 'in-process',
    database: 'postgres',
    outbox: { pending: 100, ready: 100, retrying: 0, deadLetters: 0, lagMs: 20, consumers: { [module]: 100 } },
    replicas: [{ id: HOSTILE_NAME, resource: 'deliveries', shards: 32 }],
    consumers: [{ name: module, handled: RATE, failed: 1, p50Ms: 5, p99Ms: 50 }],
    edges,
    queries: [],
    samples,
  };
}
