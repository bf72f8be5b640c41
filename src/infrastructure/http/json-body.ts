import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import { fieldOf, ValidationFailed, type Issue } from '../contracts/domain-errors.js';
import { BodyRefused, hasBody, readBody } from './request-body.js';

/** Largest body, also after it was decompressed, in bytes. */
const BODY_LIMIT = 100 * 1024;
/** Deepest nesting of a body. Without a limit, code that walks a body may use up its stack. */
const BODY_DEPTH = 32;
/** Most fields and elements of a body: each takes up some 60 bytes. */
const MAX_PARTS = 5000;
const [COMMA, BRACE, BRACKET] = Buffer.from(',{[');
const MEDIA = /^application\/json\s*(;|$)|^[\w.+-]+\/[\w.+-]+\+json\s*(;|$)/i;

type Decompress = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;
const DECODERS: Readonly<Record<string, Decompress>> = {
  identity: (bytes) => Promise.resolve(bytes),
  gzip: promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
};

/** Bodies that have arrived and aren't parsed yet. */
const arrived = new WeakMap<IncomingMessage, { readonly bytes: Buffer; readonly decode: Decompress }>();

type Next = (error?: unknown) => void;

/** Middleware that reads the bytes of a JSON body. */
export function receiveBody(request: IncomingMessage, response: ServerResponse, next: Next): void {
  if (!hasBody(request)) return next();
  receive(request, response).then(() => next(), next);
}

/** Middleware that parses the bytes into `request.body`. A parsed body may take up twenty times as much memory. */
export function parseBody(request: IncomingMessage & { body?: unknown }, _response: ServerResponse, next: Next): void {
  if (!arrived.has(request)) return next();
  parse(request).then((body) => {
    request.body = body;
    next();
  }, next);
}

/**
 * Reads a body that is JSON.
 * @throws BodyRefused, ValidationFailed that names fields which aren't UTF-8 or too deep, or an error with the status 400 or 415
 */
export async function readJson(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  await receive(request, response);
  return parse(request);
}

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const type = request.headers['content-type'] ?? '';
  if (!MEDIA.test(type)) throw refusal(415, 'Send application/json');
  const charset = /;\s*charset\s*=\s*"?([^;"\s]*)/i.exec(type)?.[1] ?? 'utf-8';
  if (!/^utf-?8$/i.test(charset)) throw refusal(415, `Send JSON in UTF-8, not in ${charset.slice(0, 20)}`);
  const encoding = (request.headers['content-encoding'] ?? 'identity').toLowerCase();
  const decode = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding]! : undefined;
  if (!decode) throw refusal(415, `Send no Content-Encoding, or one of ${Object.keys(DECODERS).join(', ')}`);
  arrived.set(request, { bytes: await readBody(request, response, BODY_LIMIT), decode });
}

async function parse(request: IncomingMessage): Promise<unknown> {
  const body = arrived.get(request)!;
  arrived.delete(request);
  const bytes = await decompressed(body.decode, body.bytes);
  if (bytes.length === 0) return {};
  if (bytes.length > MAX_PARTS && partsOf(bytes) > MAX_PARTS)
    throw new ValidationFailed([{ field: '', detail: `more than ${MAX_PARTS} fields and elements` }]);
  const parsedBody = parsed(new TextDecoder().decode(bytes));
  if (!isUtf8(bytes)) throw new ValidationFailed(notUnicode(parsedBody));
  if (isDeeper(parsedBody, BODY_DEPTH)) {
    throw new ValidationFailed([{ field: '', detail: `nested deeper than ${BODY_DEPTH} levels` }]);
  }
  return parsedBody;
}

/** At least as many as a JSON text has fields and elements. */
export function partsOf(bytes: Uint8Array): number {
  let parts = 0;
  for (const byte of bytes) if (byte === COMMA || byte === BRACE || byte === BRACKET) parts++;
  return parts;
}

async function decompressed(decode: Decompress, bytes: Buffer): Promise<Buffer> {
  try {
    return await decode(bytes, { maxOutputLength: BODY_LIMIT });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new BodyRefused(413, `A body has at most ${BODY_LIMIT} bytes`);
    }
    throw refusal(400, 'The body does not match its Content-Encoding');
  }
}

function parsed(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw refusal(400, (error as Error).message);
  }
  if (typeof value !== 'object' || value === null) throw refusal(400, 'Send a JSON object as the body');
  return value;
}

/** The fields in which bytes that are no UTF-8 were replaced. */
function* notUnicode(body: unknown, path: readonly string[] = []): Generator<Issue> {
  const issue = (field: readonly string[]) => ({ field: fieldOf(field), detail: 'expected UTF-8' });
  let hasField = false;
  if (typeof body === 'string' && body.includes('\uFFFD')) yield issue(path);
  if (typeof body === 'object' && body !== null && path.length < BODY_DEPTH) {
    for (const [key, value] of Object.entries(body)) {
      const inner = [...path, key];
      for (const it of key.includes('\uFFFD') ? [issue(inner)] : notUnicode(value, inner)) {
        hasField = true;
        yield it;
      }
    }
  }
  if (path.length === 0 && !hasField) yield issue(path);
}

function isDeeper(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((it) => isDeeper(it, depth - 1));
}

function refusal(status: number, message: string): Error {
  return Object.assign(new Error(message), { status });
}
