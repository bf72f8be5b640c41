import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { RefusedError } from '../errors.js';
import type { StoredEvent } from './stored-event.js';
import { accept, read } from './wire.js';

/*
 * The HTTP endpoint of a broker. It answers as recorded from Knative Eventing 1.12.6. All answers have an empty body, so
 * a publisher doesn't learn why an event is refused; the terminal shows the reason.
 */

/** Largest body of an event, in bytes. */
export const MAX_BODY_BYTES = 16 * 1024 * 1024;
/** Largest header block of a request, in bytes, as in Go. */
export const MAX_HEADER_BYTES = 1024 * 1024;
/** Longest wait for the body of a request, in ms. */
const BODY_TIMEOUT_MS = 10_000;

const ALLOW = 'POST, OPTIONS';

export interface Ingress {
  /** Names as `<namespace>/<name>`. */
  readonly brokers: readonly string[];
  /** Resolves when the event is on disk. */
  store(event: StoredEvent): Promise<void>;
  /** Called with the reason when an event is refused. */
  onRefused(status: number, reason: string): void;
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
    const status = error instanceof RefusedError ? error.status : 500;
    ingress.onRefused(status, (error as Error).message);
    // The connection can't be reused, because the rest of the body has not been read.
    if (!request.complete) response.setHeader('Connection', 'close');
    end(response, status);
  }
}

/** Answers a request that Node can't parse, as Go does. */
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

/** @throws RefusedError with the status of the answer */
async function eventIn(request: IncomingMessage, brokers: readonly string[]): Promise<StoredEvent> {
  const path = request.url ?? '';
  if (path === '/') throw new RefusedError('There is no broker at /', 404);
  const broker = /^\/([^/?]+\/[^/?]+)\/?$/.exec(path)?.[1];
  if (broker === undefined)
    throw new RefusedError(`Invalid path ${path.slice(0, 100)}: expected /<namespace>/<broker>`);
  const event = accept(read({ headers: firstHeaders(request), body: await bodyOf(request) }, broker));
  if (!brokers.includes(broker)) throw new RefusedError(`There is no Broker ${broker}`);
  return event;
}

/** Whether this is a health check of Kubernetes or Knative: they use any method and path. */
function isProbe({ headers }: IncomingMessage): boolean {
  const isKubelet = headers['user-agent']?.startsWith('kube-probe/') || headers['k-kubelet-probe'] !== undefined;
  return isKubelet || headers['k-network-probe'] === 'probe';
}

/** The headers, with the first value of a repeated header. Node would join the values. */
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
      late = setTimeout(
        () => reject(new RefusedError(`The body did not arrive within ${BODY_TIMEOUT_MS / 1000} s`)),
        BODY_TIMEOUT_MS,
      );
      let chunks: Buffer[] = [];
      let length = 0;
      request.on('data', (chunk: Buffer) => {
        length += chunk.length;
        // Read to the end all the same: a publisher that is cut off while it sends misses the 413, and retries for ever.
        if (length > MAX_BODY_BYTES) chunks = [];
        else chunks.push(chunk);
      });
      request.once('end', () => {
        if (length > MAX_BODY_BYTES) reject(new RefusedError(`The body is larger than ${MAX_BODY_BYTES} bytes`, 413));
        else resolve(Buffer.concat(chunks));
      });
      request.once('error', reject);
      request.once('close', () => reject(new RefusedError('The connection was closed before the end of the body')));
    });
  } finally {
    clearTimeout(late);
  }
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, ...(status !== 204 && { 'Content-Length': '0' }) }).end();
}
