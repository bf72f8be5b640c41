import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { stringify } from 'yaml';

/* Shared by the tests of the laptop broker: manifests in a folder, a recording server, and byte-exact requests. */

/** A temporary folder for one suite. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'broker-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Writes Kubernetes resources into a YAML file in a new folder. @returns the folder */
export function manifests(...resources: object[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'manifests-'));
  writeFileSync(join(folder, 'all.yaml'), resources.map((it) => stringify(it)).join('---\n'));
  return folder;
}

const apiVersion = 'eventing.knative.dev/v1';
export function broker(name: string, delivery?: object, namespace = 'default'): object {
  return { apiVersion, kind: 'Broker', metadata: { name, namespace }, spec: { ...(delivery && { delivery }) } };
}
export function trigger(
  name: string,
  spec: { broker: string } & Record<string, unknown>,
  namespace = 'default',
): object {
  return { apiVersion, kind: 'Trigger', metadata: { name, namespace }, spec };
}

export interface Received {
  readonly method: string;
  readonly path: string;
  /** The first value of each header. */
  readonly headers: Record<string, string>;
  readonly body: Buffer;
  /** In ms since 1970. */
  readonly at: number;
}

export interface Reply {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  /** Closes the connection without a response. */
  readonly destroyed?: boolean;
}

/** A server that records its requests, and responds as `script` says; default: 200 without a body. */
export class Recorder {
  readonly received: Received[] = [];
  script: (it: Received) => Reply | undefined | Promise<Reply | undefined> = () => undefined;
  private readonly server = createServer({ maxHeaderSize: 2 ** 21 }, (incoming, outgoing) => {
    void this.respond(incoming).then(({ status = 200, headers = {}, body = '', destroyed }) => {
      if (destroyed) return outgoing.destroy();
      outgoing.writeHead(status, headers).end(body);
    });
  });

  async start(): Promise<this> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return this;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  to(path: string): Received[] {
    return this.received.filter((it) => it.path === path);
  }

  /** Waits until `count` requests have arrived at a path. @throws Error after `forMs` */
  async expect(path: string, count: number, forMs = 60_000): Promise<Received[]> {
    for (const end = Date.now() + forMs; this.to(path).length < count; await wait(5)) {
      if (Date.now() > end) throw new Error(`Expected ${count} requests to ${path}, got ${this.to(path).length}`);
    }
    return this.to(path);
  }

  async stop(): Promise<void> {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }

  private async respond(incoming: IncomingMessage): Promise<Reply> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const received = {
      method: incoming.method!,
      path: incoming.url!,
      headers: first(incoming),
      body: Buffer.concat(chunks),
      at: Date.now(),
    };
    this.received.push(received);
    return (await this.script(received)) ?? {};
  }
}

function first({ rawHeaders }: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let i = 0; i < rawHeaders.length; i += 2) headers[rawHeaders[i]!.toLowerCase()] ??= rawHeaders[i + 1]!;
  return headers;
}

/** Sends a request whose path and headers are not normalised. */
export async function send(
  url: string,
  path: string,
  options: { method?: string; headers?: [string, string][]; body?: Buffer | string; chunked?: boolean } = {},
): Promise<{ status: number; headers: Record<string, string>; body: string }> {
  const { method = 'POST', headers = [], body = '', chunked } = options;
  const { hostname, port, host } = new URL(url);
  const length = chunked ? [] : [['Content-Length', String(Buffer.byteLength(body))] as [string, string]];
  const flat = [['Host', host] as [string, string], ...headers, ...length].flat();
  const outgoing = request({ hostname, port, path, method, headers: flat as never, agent: false });
  // A Buffer, because with a string Node would encode the headers as UTF-8.
  outgoing.end(Buffer.from(body));
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  outgoing.on('error', () => undefined);
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return { status: incoming.statusCode!, headers: first(incoming), body: Buffer.concat(chunks).toString() };
}

/** The headers of a binary event. @param attributes by their names without `ce-` */
export function event(attributes: Record<string, string> = {}): [string, string][] {
  const all = { id: 'id-1', source: '/src', type: 'com.example.a', specversion: '1.0', ...attributes };
  return [
    ...Object.entries(all).map(([name, value]) => [`ce-${name}`, value] as [string, string]),
    ['content-type', 'application/json'],
  ];
}

/** Waits until the broker has no pending messages or retries. @throws Error after 60 s */
export async function settled(url: string): Promise<void> {
  for (const end = Date.now() + 60_000; ; await wait(5)) {
    const { pending } = (await (await fetch(`${url}/mesh/outbox`)).json()) as { pending: number };
    if (pending === 0) return;
    if (Date.now() > end) throw new Error(`${pending} messages are still pending after 60 s`);
  }
}
