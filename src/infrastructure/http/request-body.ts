import type { IncomingMessage, ServerResponse } from 'node:http';

/** How long a body may take to arrive, in ms. */
const BODY_MS = 10_000;
/** What all bodies of the process may hold together until their answers are written, in bytes. */
const BUDGET_BYTES = 32 * 1024 * 1024;

/** What a piece of a body takes up besides its bytes. */
const PIECE_BYTES = 300;

/** A body was not read to its end. The message is for the sender. */
export class BodyRefused extends Error {
  override readonly name = 'BodyRefused';

  constructor(
    readonly status: 400 | 408 | 413 | 503,
    message: string,
  ) {
    super(message);
  }
}

/** The bodies that have not arrived completely, the oldest first. */
const unfinished = new Set<{ refuse(status: 503, reason: string): void }>();
let heldBytes = 0;

/** Requests with `Expect: 100-continue` whose sender waits before it sends the body. */
const waiting = new WeakSet<IncomingMessage>();

/** Notes that the sender of a request waits for `100 Continue`: `readBody()` sends it when it accepts the body. */
export function deferContinue(request: IncomingMessage): void {
  waiting.add(request);
}

/** Whether a request has a body. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined;
}

/**
 * Reads the body of a request. All bodies share a budget: when it is used up, the oldest unfinished body is refused, which may
 * be this one.
 * @param limit in bytes
 * @throws BodyRefused when the body is too large (at once, by its Content-Length), late, cut off, or over the budget
 */
export function readBody(request: IncomingMessage, response: ServerResponse, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    /** What it takes up in memory. */
    let size = 0;
    const release = () => {
      unfinished.delete(body);
      heldBytes -= size;
      size = 0;
      request.off('data', take);
    };
    const refuse = (status: BodyRefused['status'], reason: string) => {
      release();
      chunks.length = 0;
      // A sender that is cut off while it sends would miss the answer, so discard what is too large until the time is up.
      if (status !== 413 || waiting.has(request)) response.shouldKeepAlive = false;
      else request.resume();
      reject(new BodyRefused(status, reason));
    };
    const body = { refuse };
    const take = (chunk: Buffer) => {
      bytes += chunk.length;
      // Each piece is an object of its own, also of a body that comes byte by byte.
      size += chunk.length + PIECE_BYTES;
      heldBytes += chunk.length + PIECE_BYTES;
      chunks.push(chunk);
      if (bytes > limit) return refuse(413, `A body has at most ${limit} bytes`);
      for (const oldest of unfinished) {
        if (heldBytes <= BUDGET_BYTES) break;
        oldest.refuse(503, 'The bodies that are being sent or handled are too large: try again');
      }
    };
    if (Number(request.headers['content-length'] ?? 0) > limit) refuse(413, `A body has at most ${limit} bytes`);
    else {
      unfinished.add(body);
      if (waiting.delete(request)) response.writeContinue();
      request.on('data', take);
    }
    const late = setTimeout(() => {
      if (unfinished.has(body)) refuse(408, `A body has to arrive within ${BODY_MS / 1000} s`);
      else request.destroy();
    }, BODY_MS).unref();
    request.once('end', () => {
      clearTimeout(late);
      if (!unfinished.delete(body)) return;
      resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
      chunks.length = 0;
      if (response.closed) release();
      else response.once('prefinish', release).once('close', release);
    });
    request.once('error', () => undefined);
    request.once('close', () => {
      clearTimeout(late);
      if (unfinished.has(body)) refuse(400, 'The connection was closed before the end of the body');
    });
  });
}
