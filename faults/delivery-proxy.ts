import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Agent } from 'undici';
import type { Random } from './random.js';

/** The longest that a delivery is held back, and that its double lets wait for itself, in ms. */
const HELD_MS = 2000;
const DOUBLE_AFTER_MS = 3000;

/** Stands between the broker and a process that it delivers to. It may bring things late, and twice. */
export class Courier {
  /** The probability that a delivery is held back, so that others overtake it. */
  holding = 0;
  /** The probability that a delivery comes again. */
  doubling = 0;
  private underWay = 0;
  private readonly agent = new Agent({ connections: 256 });

  private constructor(
    private readonly server: Server,
    private readonly target: string,
    private readonly random: Random,
  ) {
    server.on('request', (request: IncomingMessage, response: ServerResponse) => void this.take(request, response));
  }

  /** @param target the URL of the process that gets the deliveries */
  static async open(target: string, random: Random): Promise<Courier> {
    const server = createServer();
    const courier = new Courier(server, target, random);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return courier;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Whether there is something that it hasn't brought yet. */
  get busy(): boolean {
    return this.underWay > 0;
  }

  async close(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await this.agent.destroy();
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.underWay++;
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      if (this.random.chance(this.doubling)) void this.again(request, body);
      // It is brought also when the broker has died or lost patience meanwhile, as by a network that is slow.
      if (this.random.chance(this.holding)) await wait(this.random.between(0, HELD_MS));
      const answer = await this.bring(request, body);
      response.writeHead(answer.status, answer.headers);
      response.end(answer.body);
    } catch {
      response.destroy();
    } finally {
      this.underWay--;
    }
  }

  private async again(request: IncomingMessage, body: Buffer): Promise<void> {
    this.underWay++;
    await wait(this.random.between(0, DOUBLE_AFTER_MS));
    await this.bring(request, body).catch(() => undefined);
    this.underWay--;
  }

  private async bring({ method, url, headers }: IncomingMessage, body: Buffer) {
    const answer = await this.agent.request({
      origin: this.target,
      path: url!,
      method: method as 'POST',
      body,
      headers: without(headers, ['host', 'connection', 'keep-alive', 'transfer-encoding', 'content-length', 'expect']),
      signal: AbortSignal.timeout(60_000),
    });
    const sent = without(answer.headers, ['connection', 'keep-alive', 'transfer-encoding', 'content-length']);
    return { status: answer.statusCode, headers: sent, body: Buffer.from(await answer.body.arrayBuffer()) };
  }
}

function without<Headers extends object>(headers: Headers, names: readonly string[]): Headers {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name))) as Headers;
}
