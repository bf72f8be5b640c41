import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { request as send, type Dispatcher } from 'undici';
import { sendProblem, type Exchange } from './answers.js';

/** A process behind the gateway. */
export interface Service {
  readonly name: string;
  /** Base URL without a trailing slash. */
  readonly url: string;
}

/** Headers that belong to one connection (RFC 9110, section 7.6.1). They are not forwarded. */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
];

/**
 * Streams a request to a process, and the answer back. When the process can't be reached, the answer is a 503 that names
 * it. When the client disconnects, the request to the process is aborted.
 */
export async function forward({ name, url }: Service, to: Exchange, dispatcher: Dispatcher): Promise<void> {
  const { request, response, method } = to;
  const disconnected = new AbortController();
  response.once('close', () => disconnected.abort());
  try {
    const answer = await send(url + request.url, {
      method,
      body: bodyOf(request),
      headers: endToEnd(request.rawHeaders),
      dispatcher,
      signal: disconnected.signal,
      responseHeaders: 'raw',
    });
    response.writeHead(answer.statusCode, endToEnd(answer.headers as unknown as string[]));
    await pipeline(answer.body, response);
  } catch (error) {
    if (response.headersSent || response.destroyed) return void response.destroy();
    sendProblem(to, 503, reasonOf(name, error));
  } finally {
    // A process may answer before it has read the whole body: the next request on this connection comes behind the rest.
    request.unpipe();
    request.resume();
  }
}

/** A copy of the body's stream: destroying the request's own stream would close the connection of the answer. */
function bodyOf(request: IncomingMessage): PassThrough | null {
  const hasBody = request.headers['content-length'] ?? request.headers['transfer-encoding'];
  return hasBody === undefined ? null : request.pipe(new PassThrough());
}

/** @param headers names and values in turn */
function endToEnd(headers: readonly string[]): string[] {
  const pairs = headers.flatMap((name, index) => (index % 2 === 0 ? [[name, headers[index + 1]!] as const] : []));
  const named = pairs.filter(([name]) => /^connection$/i.test(name)).flatMap(([, value]) => value.split(','));
  const dropped = new Set([...HOP_BY_HOP, ...named.map((name) => name.trim().toLowerCase())]);
  return pairs.filter(([name]) => !dropped.has(name.toLowerCase())).flat();
}

function reasonOf(name: string, error: unknown): string {
  const { code } = error as { code?: string };
  if (code === 'ECONNREFUSED') return `${name} is not running now`;
  // The process may have handled the request before it exited. With an Idempotency-Key a retry is safe.
  return `${name} did not answer (${code ?? (error as Error).message}): check whether the request was handled before you repeat it`;
}
