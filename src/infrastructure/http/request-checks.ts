import type { IncomingMessage } from 'node:http';
import { Forbidden } from '../contracts/domain-errors.js';

const SAFE_METHODS: readonly (string | undefined)[] = ['GET', 'HEAD', 'OPTIONS'];
/** A host with a port (RFC 3986, sections 3.2.2 and 3.2.3). */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.~%!$&'()*+,;=-]*)(?::\d*)?$/i;
const LOOPBACK = /^(?:(?:[\w-]+\.)*localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|\[::1\])(?::\d+)?$/i;

/** Most headers of a request. Node would ignore those beyond its own limit, for instance a second Authorization. */
export const MAX_HEADERS = 200;
/** What a name or value of a header takes up besides its characters, and how often it is kept. */
const HEADER_BYTES = 50;
const HEADER_COPIES = 2;

export function hasManyHeaders({ rawHeaders }: IncomingMessage): boolean {
  return rawHeaders.length > 2 * MAX_HEADERS;
}

/** What the address and the headers of a request take up in memory, in bytes: about. */
export function headBytes({ url = '', rawHeaders }: IncomingMessage): number {
  return rawHeaders.reduce((sum, it) => sum + HEADER_BYTES + HEADER_COPIES * it.length, url.length);
}

/** Adds `headersDistinct` to a request that Fastify's `inject()` has made up, as in tests. */
export function addDistinctHeaders(request: Partial<IncomingMessage>): void {
  const all = Object.entries(request.headers ?? {}).map(([name, value = []]) => [name, [value].flat()]);
  request.headersDistinct ??= Object.fromEntries(all) as NodeJS.Dict<string[]>;
}

/** Requests with an `Expect` that isn't 100-continue. */
const expecting = new WeakSet<IncomingMessage>();

/** Notes that a request expects what this server doesn't know. */
export function expectMore(request: IncomingMessage): void {
  expecting.add(request);
}

/**
 * What is wrong with a request as HTTP/1.1 (RFC 9112, sections 2.3, 3.2 and 6.1; RFC 9110, section 10.1.1), although Node accepts it: a proxy in front
 * may understand it in another way. The connection has to be closed then.
 */
export function protocolProblem(request: IncomingMessage): (Error & { status: number }) | undefined {
  // Before `headers`, which takes up many times as much.
  if (hasManyHeaders(request)) return malformed(`Send at most ${MAX_HEADERS} headers`, 431);
  const { httpVersion, headersDistinct } = request;
  const { host = [], 'transfer-encoding': encodings = [] } = headersDistinct;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return malformed('Send HTTP/1.1');
  if (host.length > 1) return malformed('Send the header Host once');
  if (host.length === 0 && httpVersion === '1.1') return malformed('Send the header Host');
  if (host[0] !== undefined && !HOST.test(host[0])) return malformed('Host: expected a host, and maybe a port');
  if (expecting.has(request)) return malformed('The only expectation that is known is 100-continue', 417);
  if (encodings.length === 0) return undefined;
  if (httpVersion === '1.0') return malformed('Transfer-Encoding: not known in HTTP/1.0');
  return /^chunked$/i.test(encodings.join(',').trim())
    ? undefined
    : malformed('Transfer-Encoding: only chunked is supported');
}

/**
 * Refuses what a page of another site makes the browser of a user send: the API is for its own pages and for programs.
 * @param isDevelopment the application is reached by names of this machine only: another name that leads here belongs to a
 *   page that wants to pass for this site (DNS rebinding)
 */
export function otherSiteProblem({ method, headers }: IncomingMessage, isDevelopment: boolean): Error | undefined {
  if (isDevelopment && headers.host !== undefined && !LOOPBACK.test(headers.host))
    return new Forbidden('In development requests go to localhost', 'Host');
  if (SAFE_METHODS.includes(method)) return undefined;
  const site = headers['sec-fetch-site']?.toString().toLowerCase();
  if (site === 'cross-site') return new Forbidden('Requests of other sites are refused', 'Sec-Fetch-Site');
  if (site !== undefined || headers.origin === undefined) return undefined;
  const own = [headers.host, headers['x-forwarded-host']];
  const isOwn = URL.canParse(headers.origin) && own.includes(new URL(headers.origin).host);
  return isOwn ? undefined : new Forbidden('Requests of other sites are refused', 'Origin');
}

function malformed(message: string, status = 400): Error & { status: number } {
  return Object.assign(new Error(message), { status });
}
