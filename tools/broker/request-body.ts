import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { RefusedError } from '../errors.js';

/** Largest body of an event, in bytes. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;
/** What all bodies may hold together until their requests are answered, in bytes. */
const BUDGET_BYTES = 48 * 1024 * 1024;
/** Longest wait for the body of a request, in ms. */
const BODY_TIMEOUT_MS = 10_000;

/** The body of a request is incomplete, invalid or late. */
export class UnreadableBody extends Error {
  override readonly name = 'UnreadableBody';
}

/** The body of a request is too large. */
export class BodyTooLarge extends Error {
  override readonly name = 'BodyTooLarge';
}

/** Ends the reading of a body, by the connection of its request. */
const readers = new WeakMap<Duplex, (reason: string) => void>();

/** To be called when Node can't parse a connection. @returns whether the body of a request was being read there */
export function failReading(connection: Duplex, reason: string): boolean {
  const fail = readers.get(connection);
  fail?.(reason);
  return fail !== undefined;
}

let heldBytes = 0;

/**
 * Reads the body of a request. It counts against the budget of all bodies until the response is closed.
 * @throws UnreadableBody, BodyTooLarge, RefusedError with 503 when the budget is used up
 */
export async function bodyOf(request: IncomingMessage, response: ServerResponse): Promise<Buffer> {
  let held = 0;
  const hold = (bytes: number) => {
    heldBytes += bytes - held;
    held = bytes;
  };
  response.once('close', () => hold(0));
  let late: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const unreadable = (reason: string) => reject(new UnreadableBody(reason));
      readers.set(request.socket, unreadable);
      late = setTimeout(
        () => unreadable(`The body did not arrive within ${BODY_TIMEOUT_MS / 1000} s`),
        BODY_TIMEOUT_MS,
      );
      let chunks: Buffer[] = [];
      let length = 0;
      let isRefused = false;
      request.on('data', (chunk: Buffer) => {
        length += chunk.length;
        isRefused ||= heldBytes + chunk.length > BUDGET_BYTES;
        // Read to the end all the same: a publisher that is cut off while it sends misses the 413, and retries for ever.
        const isKept = length <= MAX_BODY_BYTES && !isRefused && !response.destroyed;
        if (isKept) chunks.push(chunk);
        else chunks = [];
        hold(isKept ? length : 0);
        if (isRefused)
          reject(new RefusedError(`The bodies of all requests are larger than ${BUDGET_BYTES} bytes`, 503));
      });
      request.once('end', () => {
        if (length > MAX_BODY_BYTES) reject(new BodyTooLarge(`The body is larger than ${MAX_BODY_BYTES} bytes`));
        else resolve(Buffer.concat(chunks));
      });
      request.once('error', ({ message }) => unreadable(message));
      request.once('close', () => unreadable('The connection was closed before the end of the body'));
    });
  } finally {
    clearTimeout(late);
    readers.delete(request.socket);
  }
}
