import { randomUUID } from 'node:crypto';
import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { expectMore } from './request-checks.js';
import { SECURITY_HEADERS } from './security-headers.js';

/** Statuses of Node's errors before there is a request; 400 for all others. */
const STATUSES: Readonly<Record<string, [status: number, detail: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'The headers are larger than 16 KB'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'The extensions of the chunks are larger than 16 KB'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request did not arrive in time'],
};

/**
 * Answers requests that Node refuses itself with problem documents.
 * @param endAfterAnswer whether a connection ends after the answer of a request that came before: a second answer would be
 *   mistaken for its own
 */
export function answerBrokenRequests(server: Server, endAfterAnswer: (socket: Socket) => boolean): void {
  // Node would answer without a body: `configureHttp()` checks the header instead.
  Object.assign(server, { requireHostHeader: false });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
    if (endAfterAnswer(socket)) return;
    const [status, detail] = STATUSES[error.code ?? ''] ?? [400, 'This is not a request of HTTP/1.1'];
    const { headers, body } = problem(status, detail);
    const lines = Object.entries({ ...headers, Connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`, () => socket.destroy());
  });
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    expectMore(request);
    server.emit('request', request, response);
  });
}

function problem(status: number, detail: string) {
  const correlationId = randomUUID();
  const body = JSON.stringify({
    type: 'about:blank',
    title: STATUS_CODES[status],
    status,
    detail,
    correlationId,
  });
  const headers = {
    ...SECURITY_HEADERS,
    'Content-Type': 'application/problem+json; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(body)),
    'X-Correlation-Id': correlationId,
  };
  return { headers, body };
}
