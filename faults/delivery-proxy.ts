import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Agent } from 'undici';
import type { Random } from './random.js';

/** Longest delay of a delivery, and of its duplicate, in ms. */
const MAX_DELAY_MS = 2000;
const MAX_DUPLICATE_DELAY_MS = 3000;

/** A proxy between the broker and a process that it delivers to. Delays and duplicates deliveries. */
export class DeliveryProxy {
  /** Probability that a delivery is delayed, so that later deliveries overtake it. */
  delayProbability = 0;
  /** Probability that a delivery is sent a second time. */
  duplicateProbability = 0;
  private inFlight = 0;
  private readonly agent = new Agent({ connections: 256 });

  private constructor(
    private readonly server: Server,
    private readonly target: string,
    private readonly random: Random,
  ) {
    server.on('request', (request: IncomingMessage, response: ServerResponse) => void this.handle(request, response));
  }

  /** @param target the URL of the process that gets the deliveries */
  static async open(target: string, random: Random): Promise<DeliveryProxy> {
    const server = createServer();
    const proxy = new DeliveryProxy(server, target, random);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Whether a delivery is in flight. */
  get busy(): boolean {
    return this.inFlight > 0;
  }

  async close(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await this.agent.destroy();
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.inFlight++;
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      if (this.random.chance(this.duplicateProbability)) void this.sendDuplicate(request, body);
      // The delivery is sent also when the broker has died or timed out meanwhile, as on a slow network.
      if (this.random.chance(this.delayProbability)) await wait(this.random.between(0, MAX_DELAY_MS));
      const answer = await this.forward(request, body);
      response.writeHead(answer.status, answer.headers);
      response.end(answer.body);
    } catch {
      response.destroy();
    } finally {
      this.inFlight--;
    }
  }

  private async sendDuplicate(request: IncomingMessage, body: Buffer): Promise<void> {
    this.inFlight++;
    await wait(this.random.between(0, MAX_DUPLICATE_DELAY_MS));
    await this.forward(request, body).catch(() => undefined);
    this.inFlight--;
  }

  private async forward({ method, url, headers }: IncomingMessage, body: Buffer) {
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
