import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Drops the requests that have arrived on a connection and aren't parsed yet. Node would parse all of them, thousands in 64 KB,
 * and keep each until the connection is closed; it has no public way to stop.
 */
export function ignoreRest(socket: Socket): void {
  const { parser } = socket as Socket & { parser?: { onIncoming?: (request: IncomingMessage) => number } };
  if (!parser) return;
  parser.onIncoming = (request) => {
    dropRequest(request);
    return 0;
  };
}

/** Keeps little of a request that isn't going to be handled: Node keeps the request itself, and what nothing reads of its body. */
export function dropRequest(request: IncomingMessage): void {
  request.url = '';
  request.rawHeaders = [];
  request.headers = {};
  request.resume();
}
