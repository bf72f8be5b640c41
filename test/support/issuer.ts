import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK, type JWTPayload } from 'jose';
import { OidcTokens, type TokenRules } from '../../src/infrastructure/http/oidc/oidc-tokens.js';
import { KeysUnavailable, Unauthorized } from '../../src/infrastructure/http/bearer-tokens.js';

export const AUDIENCE = 'mesh/kitchen';

/** Correct and faulty responses of an issuer. */
const BEHAVIOURS = {
  good: (response: ServerResponse, good: unknown) => response.end(JSON.stringify(good)),
  failing: (response: ServerResponse) => response.writeHead(500).end('{"keys":[]}'),
  garbage: (response: ServerResponse) => response.end('<html>'),
  'without a set': (response: ServerResponse) => response.end('{"keys":[17]}'),
  redirecting: (response: ServerResponse) => response.writeHead(302, { location: '/keys' }).end(),
  hanging: () => undefined,
  stalling: (response: ServerResponse) => response.writeHead(200).write('{"keys":'),
};

/** Starts an issuer that publishes keys on loopback. `behaviour` selects its responses. */
export async function startIssuer(...keys: Key[]) {
  const state = {
    keys: keys.map(({ jwk }) => jwk),
    behaviour: 'good' as keyof typeof BEHAVIOURS,
    document: undefined as unknown,
    /** Paths of the requests so far. */
    asked: [] as string[],
    /** Authorization headers of the requests so far. */
    authorizations: [] as (string | undefined)[],
  };
  const held: (() => void)[] = [];
  const server = createServer((request, response) => {
    state.asked.push(request.url!);
    state.authorizations.push(request.headers.authorization);
    const body = request.url === '/keys' ? { keys: [...state.keys] } : state.document;
    BEHAVIOURS[state.behaviour](response, body);
    if (state.behaviour === 'hanging') held.push(() => BEHAVIOURS.good(response, body));
  });
  /** Answers the requests that hang, with the keys of the time when they came. */
  const release = () => held.splice(0).forEach((it) => it());
  const listen = async (port = 0) => {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return (server.address() as AddressInfo).port;
  };
  const port = await listen();
  const url = `http://127.0.0.1:${port}`;
  state.document = { issuer: url, jwks_uri: `${url}/keys` };
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return Object.assign(state, { url, keysUrl: `${url}/keys`, close, release, reopen: () => listen(port) });
}
export type Issuer = Awaited<ReturnType<typeof startIssuer>>;

export interface Key {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  /** The published public key. */
  readonly jwk: JWK;
}

export async function newKey(alg: string): Promise<Key> {
  const pair = await generateKeyPair(alg, { extractable: true });
  const kid = randomUUID();
  return { kid, alg, ...pair, jwk: { ...(await exportJWK(pair.publicKey)), kid, use: 'sig' } };
}

export const nowS = () => Math.floor(Date.now() / 1000);

/** An Authorization header like Knative's. `claims` replaces claims, and removes those that are undefined. */
export async function bearer(issuer: Issuer, key: Omit<Key, 'kid'> & { kid?: string }, claims: JWTPayload = {}) {
  const usual = { iss: issuer.url, aud: AUDIENCE, sub: 'system:serviceaccount:mesh:broker', exp: nowS() + 3600 };
  const token = await new SignJWT({ ...usual, iat: nowS(), jti: randomUUID(), ...claims })
    .setProtectedHeader({ alg: key.alg, ...(key.kid && { kid: key.kid }) })
    .sign(key.privateKey);
  return `Bearer ${token}`;
}

export const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Rules for the tokens of an issuer, with a short timeout. */
export function rulesFor(issuer: Issuer, rules: Partial<TokenRules> = {}): TokenRules {
  return { issuer: issuer.url, audience: AUDIENCE, jwksUrl: issuer.keysUrl, timeoutMs: 200, ...rules };
}

/** Verifies a header. @returns 'good', or the error. @throws Error when the error contains a part of the token */
export async function outcome(tokens: OidcTokens, header: string | undefined): Promise<string> {
  const error: unknown = await tokens.verify(header).then(
    () => undefined,
    (it: unknown) => it,
  );
  if (error === undefined) return 'good';
  const { message, stack } = error as Error;
  const shown = [message, stack, JSON.stringify(error), inspect(error, { depth: 9, showHidden: true })].join('\n');
  const parts = (header ?? '').split(/[\s.,]/).filter((it) => it.length >= 16);
  parts.push('system:serviceaccount');
  if (parts.some((part) => shown.includes(part.slice(0, 16))))
    throw new Error('The error contains a part of the token');
  if (error instanceof Unauthorized) return message;
  if (error instanceof KeysUnavailable) return 'keys unavailable';
  throw error as Error;
}

/** Puts both clocks of this process forward. */
export const clock = { aheadMs: 0 };
const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)];
Date.now = () => wall() + clock.aheadMs;
performance.now = () => monotonic() + clock.aheadMs;
// The suites of a Jest worker share one `performance` object.
afterAll(() => {
  performance.now = monotonic;
});
