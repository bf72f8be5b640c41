import type { ServerResponse } from 'node:http';
import { hasBody } from './request-body.js';
import { hasManyHeaders } from './request-checks.js';

/** Pieces of bodies that may wait in the memory of this process. Each is an object, be it of a single byte. */
const MAX_PIECES = 30_000;
/** A body of so many pieces, or less, is not blamed for those of others. */
const MAX_PIECES_OF_ONE = 100;

let waiting = 0;

/**
 * Watches the body of a request until something reads it: the request may wait for its turn or for a check, or be refused.
 * Closes the connection of a body that comes in very many pieces meanwhile. What nothing has read when the answer is written
 * is dropped, also while the client doesn't take the answer.
 */
export function limitUnreadBody(response: ServerResponse): void {
  const { req: request } = response;
  // Node leaves out headers when there are many: that of the body may be among them.
  if (!hasManyHeaders(request) && !hasBody(request)) return;
  let pieces = 0;
  const push = request.push.bind(request);
  request.push = (chunk, encoding) => {
    if (chunk !== null && !request.readableFlowing) {
      pieces++;
      if (++waiting > MAX_PIECES && pieces > MAX_PIECES_OF_ONE) request.destroy();
    }
    return push(chunk, encoding);
  };
  const forget = () => {
    waiting -= pieces;
    pieces = 0;
  };
  request.once('resume', forget).once('close', forget);
  response.once('prefinish', () => request.resume());
}
