import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { request as send, type Dispatcher } from 'undici';
import { sendProblem, type Exchange } from './answers.js';

/** A process behind the front door. */
export interface Service {
  readonly name: string;
  /** Its base URL, without a last slash. */
  readonly url: string;
}

/** Headers that are between two ends of one connection (RFC 9110, section 7.6.1); a body's length is answer anew. */
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
 * Streams a request to a process, and its answer back. A process that is down is a 503 that names it; a client that
 * leaves ends the request there, too.
 */
export async function forward({ name, url }: Service, to: Exchange, dispatcher: Dispatcher): Promise<void> {
  const { request, response, method } = to;
  const left = new AbortController();
  response.once('close', () => left.abort());
  try {
    const answer = await send(url + request.url, {
      method,
      body: bodyOf(request),
      headers: endToEnd(request.rawHeaders),
      dispatcher,
      signal: left.signal,
      responseHeaders: 'raw',
    });
    response.writeHead(answer.statusCode, endToEnd(answer.headers as unknown as string[]));
    await pipeline(answer.body, response);
  } catch (error) {
    if (response.headersSent || response.destroyed) return void response.destroy();
    sendProblem(to, 503, reasonOf(name, error));
  }
}

/** One that may be destroyed without the connection on which the answer has to go back. */
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
  // It may have kept the request before it died; whoever sent an Idempotency-Key just sends it again.
  return `${name} did not answer (${code ?? (error as Error).message}): look whether it happened before you try again`;
}
