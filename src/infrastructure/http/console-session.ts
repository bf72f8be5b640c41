import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Forbidden } from '../contracts/domain-errors.js';

/*
 * The session of a browser: a cookie that scripts can't read, and that no other site's page can make the browser send. It is
 * signed with the token that was given, so that every process with that token knows it, and none remembers it.
 */

const NAME = 'mesh-console';
/** How long a session lasts, in s. */
const LIFETIME_S = 8 * 3600;
/** A header that a page of another site can't add without being asked for permission. */
const OWN_REQUEST = 'x-mesh-console';
const SAFE_METHODS: readonly (string | undefined)[] = ['GET', 'HEAD'];
const ROLES: readonly AdministrationRole[] = ['administrator', 'reader'];
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/** What a caller of the administration may do: a reader changes nothing. */
export type AdministrationRole = 'administrator' | 'reader';

type TokenOf = (role: AdministrationRole) => string | undefined;

/** The role of the session of a request, if it has one. @throws Forbidden for a change without the header of the console */
export function sessionRole(request: IncomingMessage, tokenOf: TokenOf): AdministrationRole | undefined {
  const value = cookieIn(request);
  const [, role, expires, signature] = /^([a-z]+)\.(\d+)\.([\w-]+)$/.exec(value ?? '') ?? [];
  const known = ROLES.find((it) => it === role);
  const token = known && tokenOf(known);
  if (!token || Number(expires) * 1000 < Date.now() || !isEqual(signature!, sign(token, known, expires!)))
    return undefined;
  if (!SAFE_METHODS.includes(request.method) && !isOfConsole(request))
    throw new Forbidden('Requests of the console carry this header', 'X-Mesh-Console');
  return known;
}

/** Whether a page of the console has sent the request. */
export function isOfConsole({ headers }: IncomingMessage): boolean {
  return headers[OWN_REQUEST] !== undefined;
}

/** The value of `Set-Cookie` for a new session. */
export function newSession(request: IncomingMessage, role: AdministrationRole, token: string): string {
  const expires = String(Math.floor(Date.now() / 1000) + LIFETIME_S);
  return cookie(request, `${role}.${expires}.${sign(token, role, expires)}`, LIFETIME_S);
}

/** The value of `Set-Cookie` that ends a session. */
export function endedSession(request: IncomingMessage): string {
  return cookie(request, '', 0);
}

function cookie({ headers: { host = '' } }: IncomingMessage, value: string, seconds: number): string {
  // Not every browser sends a Secure cookie to this machine over HTTP.
  const secure = LOOPBACK.test(host) ? '' : '; Secure';
  return `${NAME}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
}

function cookieIn({ headers: { cookie = '' } }: IncomingMessage): string | undefined {
  const found = cookie.split(/; */).find((it) => it.startsWith(`${NAME}=`));
  return found?.slice(NAME.length + 1);
}

function sign(token: string, role: AdministrationRole, expires: string): string {
  return createHmac('sha256', token).update(`console ${role} ${expires}`).digest('base64url');
}

function isEqual(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
