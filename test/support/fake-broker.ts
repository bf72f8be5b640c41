import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';

/** A request that the broker got. */
export interface Posted {
  readonly event: CloudEvent;
  readonly at: number;
  readonly request: IncomingMessage;
}

export type Answer = (posted: Posted, response: ServerResponse) => unknown;

const tlsFile = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url), 'utf8');
export const TLS = { key: tlsFile('broker.key'), cert: tlsFile('broker.crt') };

/** A broker that answers as the test says, and records the posted events. */
export class FakeBroker {
  readonly posted: Posted[] = [];
  answer: Answer = (_, response) => response.writeHead(202).end();
  private server?: Server;
  private readonly sockets = new Set<Socket>();
  private port = 0;

  /** @param isTls serve TLS, with a self-signed certificate */
  constructor(private readonly isTls = false) {}

  get url(): string {
    return `${this.isTls ? 'https' : 'http'}://127.0.0.1:${this.port}/cabs/default`;
  }

  async open(): Promise<void> {
    const receive = (request: IncomingMessage, response: ServerResponse) => void this.receive(request, response);
    const server = this.isTls ? createTlsServer(TLS, receive) : createServer(receive);
    server.on('connection', (socket) => this.sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server?.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private async receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return; // the test closed the connection
    }
    const [event] = toEvents({ headers: request.headers, body: Buffer.concat(chunks) });
    const posted = { event: event!, at: performance.now(), request };
    this.posted.push(posted);
    this.answer(posted, response);
  }
}

/** An answer with this status. */
export const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    response.writeHead(code, headers).end();
