import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { accept, read, Refused, type StoredEvent } from './wire.js';

/*
 * The HTTP face of a broker: what is answered to whom, as recorded from Knative Eventing 1.12.6. Every answer has an
 * empty body, also the refusals: a publisher never learns the reason, but the terminal does.
 */

/** Longest event that is taken, in bytes. */
export const MAX_BODY_BYTES = 16 * 1024 * 1024;
/** Longest request header block, in bytes, as in Go. */
export const MAX_HEADER_BYTES = 1024 * 1024;
/** How long the body of a request may take, in ms. */
const BODY_TIMEOUT_MS = 10_000;

const ALLOW = 'POST, OPTIONS';

export interface Ingress {
  /** As `<namespace>/<name>`. */
  readonly brokers: readonly string[];
  /** Resolves when the event is on disk. */
  store(event: StoredEvent): Promise<void>;
  /** For whoever watches: the reasons that the publisher isn't told. */
  refused(status: number, reason: string, request: IncomingMessage): void;
}

/** Answers a request to a broker. */
export async function answer(request: IncomingMessage, response: ServerResponse, ingress: Ingress): Promise<void> {
  if (isProbe(request)) {
    const hash = request.headers['k-network-hash'];
    return end(response, 200, hash ? { 'K-Network-Hash': hash as string } : {});
  }
  response.setHeader('Allow', ALLOW);
  if (request.method === 'OPTIONS') {
    return end(response, 200, { 'WebHook-Allowed-Origin': '*', 'WebHook-Allowed-Rate': '*' });
  }
  if (request.method !== 'POST') return end(response, 405);
  try {
    const event = await eventIn(request, ingress.brokers);
    await ingress.store(event);
    end(response, 202);
  } catch (error) {
    const status = error instanceof Refusal ? error.status : error instanceof Refused ? 400 : 500;
    ingress.refused(status, (error as Error).message, request);
    // What is still coming of the body would have to be read before the connection could be used again.
    if (!request.complete) response.setHeader('Connection', 'close');
    end(response, status);
  }
}

/** Answers what isn't even HTTP to Node, as Go would. */
export function answerBroken(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const text = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const reply =
    error.code === 'HPE_INVALID_METHOD'
      ? `405 Method Not Allowed\r\nAllow: ${ALLOW}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`
      : `${text}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${text}`;
  socket.end(`HTTP/1.1 ${reply}`);
}

class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** @throws Refused or Refusal */
async function eventIn(request: IncomingMessage, brokers: readonly string[]): Promise<StoredEvent> {
  const path = request.url ?? '';
  if (path === '/') throw new Refusal(404, 'There is nothing at /');
  const broker = /^\/([^/?]+\/[^/?]+)\/?$/.exec(path)?.[1];
  if (broker === undefined) throw new Refused(`${path.slice(0, 100)} is not /<namespace>/<broker>`);
  const event = accept(read({ headers: firstHeaders(request), body: await bodyOf(request) }, broker));
  if (!brokers.includes(broker)) throw new Refused(`There is no Broker ${broker}`);
  return event;
}

/** Kubernetes and Knative look by whether somebody is there, with any method on any path. */
function isProbe({ headers }: IncomingMessage): boolean {
  const isKubelet = headers['user-agent']?.startsWith('kube-probe/') || headers['k-kubelet-probe'] !== undefined;
  return isKubelet || headers['k-network-probe'] === 'probe';
}

/** Of a header that comes twice the first one counts; Node would join them. */
function firstHeaders({ rawHeaders }: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let index = 0; index < rawHeaders.length; index += 2) {
    headers[rawHeaders[index]!.toLowerCase()] ??= rawHeaders[index + 1]!;
  }
  return headers;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  let late: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      late = setTimeout(() => reject(new Refused('The body took too long')), BODY_TIMEOUT_MS);
      let chunks: Buffer[] = [];
      let length = 0;
      request.on('data', (chunk: Buffer) => {
        length += chunk.length;
        // Read to its end all the same: who is cut off while sending never sees the answer, and tries again for ever.
        if (length > MAX_BODY_BYTES) chunks = [];
        else chunks.push(chunk);
      });
      request.once('end', () => {
        if (length > MAX_BODY_BYTES) reject(new Refusal(413, `It is longer than ${MAX_BODY_BYTES} bytes`));
        else resolve(Buffer.concat(chunks));
      });
      request.once('error', reject);
      request.once('close', () => reject(new Refused('The connection broke')));
    });
  } finally {
    clearTimeout(late);
  }
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, ...(status !== 204 && { 'Content-Length': '0' }) }).end();
}
