import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { answerBrokenRequests } from './broken-requests.js';
import type { Connections } from './connections.js';
import { deferContinue } from './request-body.js';
import { MAX_HEADERS } from './request-checks.js';

/*
 * Limits of both HTTP servers. A proxy that keeps a connection longer than the server may send a request just when the
 * server closes it: nginx and AWS load balancers keep one for 60 s, Go's client (Knative's queue-proxy) for 90 s.
 */

/** How long an idle connection is kept, in ms. */
const KEEP_ALIVE_MS = 95_000;
/** How long a client may take to send the headers of a request, in ms. */
const HEADERS_MS = 15_000;
/** How long a client may take to send a whole request, in ms. */
const REQUEST_MS = 30_000;
/** Interval in which connections that are too slow are closed, in ms. */
const CHECK_MS = 5000;
/** After so many requests a connection is closed, so that clients find new replicas. */
const MAX_REQUESTS_PER_CONNECTION = 10_000;
/** Connections of one port at a time; more are closed at once. */
const MAX_CONNECTIONS = 2000;
/**
 * The `backlog` of `listen()`: connections that the kernel keeps until the process accepts them. Node's 511 is too little
 * when many clients come at once: the kernel drops the rest, and those clients try again after 1, 3, 7 and 15 s.
 */
export const BACKLOG = MAX_CONNECTIONS;

/**
 * Sets the limits of a server on purpose, instead of the defaults of Node. What Node refuses itself is answered with a
 * problem document. A sender with `Expect: 100-continue` sends its body only when that is going to be read.
 */
export function configureServer(server: Server, connections?: Connections): void {
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  // Node looks for connections that are too slow every 30 s.
  Object.assign(server, { connectionsCheckingInterval: CHECK_MS });
  server.maxRequestsPerSocket = MAX_REQUESTS_PER_CONNECTION;
  server.maxConnections = MAX_CONNECTIONS;
  // One more than is accepted, so that a request with more is refused, and none is ignored. Without a limit Node keeps
  // thousands of a request that hasn't arrived completely.
  server.maxHeadersCount = MAX_HEADERS + 1;
  answerBrokenRequests(server, (socket) => connections?.endAfterAnswer(socket) ?? false);
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    deferContinue(request);
    server.emit('request', request, response);
  });
}
