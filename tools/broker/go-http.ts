import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { failReading } from './request-body.js';

/*
 * What Go's HTTP server checks before a handler runs, where Node's server differs. Two readings of one request are how
 * requests are smuggled through proxies, so the broker never accepts more than Go.
 */

export const ALLOW = 'POST, OPTIONS';

/** Largest header block of a request, in bytes, as in Go. */
const MAX_HEADER_BYTES = 1024 * 1024;

/** Options of Node's server. It would answer a missing Host with another body than Go. */
export const SERVER_OPTIONS = { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: 120_000, requireHostHeader: false };

/** Answers a request that Go's server refuses. @returns whether it did */
export function refuseAsGo(request: IncomingMessage, response: ServerResponse): boolean {
  const refusal = refusalOf(request);
  if (!refusal) return false;
  const [status, statusMessage, body] = refusal;
  response.sendDate = false;
  response.shouldKeepAlive = false;
  const headers = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': body.length, Connection: 'close' };
  response.writeHead(status, statusMessage, headers).end(body);
  return true;
}

/** Answers an `Expect` header other than 100-continue. */
export function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(417, { 'Content-Length': '0', Connection: 'close' }).end();
}

/** Answers a request that Node can't parse, as Go does. */
export function answerBroken(error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  // The headers were good, so the ingress answers.
  if (failReading(socket, error.message)) return;
  const plain = (status: string, body = status) =>
    `${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${body}`;
  const notAllowed = `405 Method Not Allowed\r\nAllow: ${ALLOW}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
  const replies: Record<string, string> = {
    // The preface of HTTP/2.
    HPE_PAUSED_H2_UPGRADE: notAllowed,
    // A method that Node doesn't know, in a request line that is well formed.
    ...(/^\S+ \S+ HTTP\/\d\.\d\r\n/.test(String(error.rawPacket)) && { HPE_INVALID_METHOD: notAllowed }),
    HPE_HEADER_OVERFLOW: plain('431 Request Header Fields Too Large'),
    HPE_INVALID_TRANSFER_ENCODING: plain('501 Not Implemented', 'Unsupported transfer encoding'),
  };
  socket.end(`HTTP/1.1 ${replies[error.code ?? ''] ?? plain('400 Bad Request')}`);
}

type Refusal = readonly [status: number, statusMessage: string, body: string];

function refusalOf(request: IncomingMessage): Refusal | undefined {
  const hosts = valuesOf(request, 'host');
  const encodings = valuesOf(request, 'transfer-encoding');
  const isHttp11 = request.httpVersion === '1.1';
  const bad = (reason?: string): Refusal => {
    const status = reason === undefined ? 'Bad Request' : `Bad Request: ${reason}`;
    return [400, status, `400 ${status}`];
  };
  if (hosts.length > 1) return bad();
  if (encodings.length > 0 && (!isHttp11 || encodings.length > 1 || encodings[0]!.toLowerCase() !== 'chunked'))
    return [501, 'Not Implemented', 'Unsupported transfer encoding'];
  if (isHttp11 && hosts.length === 0) return bad('missing required Host header');
  if (!/^[\w!$%&()*+,\-.:;='[\]~ ]*$/.test(hosts[0] ?? '')) return bad('malformed Host header');
  return undefined;
}

/** All values of a header. Node keeps only the first Host, and joins the values of other headers. */
function valuesOf({ rawHeaders }: IncomingMessage, wanted: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]!.toLowerCase() === wanted);
}
