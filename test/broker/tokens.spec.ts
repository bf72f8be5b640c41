import { Logger } from '@nestjs/common';
import fc from 'fast-check';
import { exportSPKI, SignJWT, type JWTPayload } from 'jose';
import { OidcTokens } from '../../src/infrastructure/http/oidc/oidc-tokens.js';
import { eventually } from '../support/cabs.js';
import '../support/frozen-clock.js';
import { AUDIENCE, base64url, bearer, clock, newKey, nowS, outcome, rulesFor, startIssuer } from '../support/issuer.js';
import type { Issuer, Key } from '../support/issuer.js';

const MINUTE_MS = 60_000;
/** A little more than the shortest pause between two fetches of the keys. */
const PAUSE_MS = 5100;
/** Longest wait for the issuer. */
const TIMEOUT_MS = 10_000;
const rules = (more: Parameters<typeof rulesFor>[1] = {}) => rulesFor(issuer, { timeoutMs: TIMEOUT_MS, ...more });

let issuer: Issuer;
let key: Key;
let tokens: OidcTokens;
const sent = (claims?: JWTPayload, by: Parameters<typeof bearer>[1] = key) => bearer(issuer, by, claims);

beforeAll(async () => {
  Logger.overrideLogger(false);
  key = await newKey('RS256');
});
beforeEach(async () => {
  clock.aheadMs = 0;
  issuer = await startIssuer(key);
  tokens = new OidcTokens(rules());
});
afterEach(() => issuer.close());

describe('A broker token', () => {
  it.each(['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'])('is valid when the issuer signed it with %s', async (alg) => {
    const other = await newKey(alg);
    issuer.keys.push(other.jwk);
    expect(await outcome(tokens, await sent({}, other))).toBe('good');
  });

  it('may have several audiences, and times within 5 s of the clock', async () => {
    expect(await outcome(tokens, await sent({ aud: ['another', AUDIENCE] }))).toBe('good');
    expect(await outcome(tokens, await sent({ nbf: nowS() + 3, exp: nowS() + 60 }))).toBe('good');
    expect(await outcome(tokens, await sent({ exp: nowS() - 1 }))).toBe('good');
  });

  it.each<[string, () => JWTPayload]>([
    ['expired', () => ({ exp: nowS() - 10 })],
    ['not yet valid', () => ({ nbf: nowS() + 60 })],
    ['wrong audience', () => ({ aud: `${AUDIENCE}/more` })],
    ['wrong audience', () => ({ aud: ['mesh', 'kitchen'] })],
    ['wrong audience', () => ({ aud: undefined })],
    ['wrong issuer', () => ({ iss: `${issuer.url}/` })],
    ['wrong issuer', () => ({ iss: undefined })],
    ['no expiry', () => ({ exp: undefined })],
    ['no subject', () => ({ sub: undefined })],
    ['no subject', () => ({ sub: '' })],
    ['no subject', () => ({ sub: ['system:serviceaccount:mesh:broker'] as unknown as string })],
    ['no expiry', () => ({ exp: 'tomorrow' as unknown as number })],
  ])('is refused as %s', async (reason, claims) => {
    expect(await outcome(tokens, await sent(claims()))).toBe(reason);
  });

  it('is refused without a signature, and with a signature made from public values', async () => {
    const [header, payload, signature] = (await sent()).split('.') as [string, string, string];
    expect(await outcome(tokens, `${header}.${payload}.`)).toBe('unsigned');
    expect(await outcome(tokens, `${header}.${payload}`)).toBe('not a signed token');
    const none = `Bearer ${base64url({ alg: 'none', kid: key.kid })}.${payload}`;
    expect(await outcome(tokens, `${none}.`)).toBe('unsigned');
    expect(await outcome(tokens, `${none}.${signature}`)).toBe('algorithm not allowed');
    for (const secret of [await exportSPKI(key.publicKey), JSON.stringify(key.jwk), key.jwk.n!]) {
      const claims = new SignJWT({ iss: issuer.url, aud: AUDIENCE, exp: nowS() + 60 });
      const forged = await claims.setProtectedHeader({ alg: 'HS256', kid: key.kid }).sign(Buffer.from(secret));
      expect(await outcome(tokens, `Bearer ${forged}`)).toBe('algorithm not allowed');
    }
    expect(issuer.asked).toEqual([]);
  });

  it('is refused when it was changed, also after the original was accepted', async () => {
    const header = await sent();
    expect(await outcome(tokens, header)).toBe('good');
    const signature = header.split('.')[2]!;
    const claims = { iss: issuer.url, aud: AUDIENCE, exp: nowS() + 86_400 };
    const payload = base64url(claims);
    const forged = (protectedHeader: object) => `Bearer ${base64url(protectedHeader)}.${payload}.${signature}`;
    const { alg, kid, jwk } = key;
    expect(await outcome(tokens, forged({ alg, kid }))).toBe('wrong signature');
    expect(await outcome(tokens, forged({ alg: 'ES256', kid }))).toBe('keys unavailable');
    const foreign = base64url({ ...claims, iss: 'https://elsewhere.example' });
    const unknown = base64url({ alg, kid: 'theirs' });
    expect(await outcome(tokens, `Bearer ${unknown}.${foreign}.${signature}`)).toBe('wrong issuer');
    expect(await outcome(tokens, `Bearer ${unknown}.${base64url(17)}.${signature}`)).toBe('malformed');
    clock.aheadMs = PAUSE_MS;
    expect(await outcome(tokens, forged({ alg, jwk, jku: issuer.keysUrl, kid: 'theirs' }))).toBe('unknown key');
    expect(await outcome(tokens, forged({ alg, kid, crit: ['b64'], b64: false }))).toBe('wrong signature');
    expect(await outcome(tokens, forged({ alg, kid, crit: ['exp'], exp: 1 }))).toBe('malformed');
  });

  it('is refused when another key signed it', async () => {
    const stranger = await newKey('RS256');
    expect(await outcome(tokens, await sent({}, stranger))).toBe('unknown key');
    expect(await outcome(tokens, await sent({}, { ...stranger, kid: key.kid }))).toBe('wrong signature');
  });

  it('must name its key when the issuer has several', async () => {
    const { kid: _, ...nameless } = key;
    expect(await outcome(tokens, await sent({}, nameless))).toBe('good');
    issuer.keys.push((await newKey('RS256')).jwk);
    expect(await outcome(new OidcTokens(rules()), await sent({}, nameless))).toBe('ambiguous key');
  });

  it('is read from a well-formed Authorization header', async () => {
    const token = (await sent()).slice('Bearer '.length);
    for (const scheme of ['Bearer', 'bearer', 'BEARER', 'Bearer  ']) {
      expect(await outcome(tokens, `${scheme} ${token}`)).toBe('good');
    }
    for (const nothing of [undefined, '']) expect(await outcome(tokens, nothing)).toBe('no token');
    const twice = [`Bearer ${token} ${token}`, `Bearer ${token}, Bearer ${token}`];
    for (const header of ['Bearer', 'Bearer ', token, `Basic ${token}`, `Bearer\n${token}`, ...twice]) {
      expect(await outcome(tokens, header)).toBe('no bearer token');
    }
    for (const garbage of ['a', '..', 'a.b', 'a.b.c.d', 'a.b.c.d.e', 'ä.ö.ü', 'a.b.c=', `${token}=`]) {
      expect(await outcome(tokens, `Bearer ${garbage}`)).toBe('not a signed token');
    }
    for (const header of ['null', '[]', '17', '{}', '{"alg":17}', '{', '\0']) {
      const text = Buffer.from(header).toString('base64url');
      expect(await outcome(tokens, `Bearer ${text}.e30.c2ln`)).toBe('malformed');
    }
    expect(await outcome(tokens, await sent({ much: 'x'.repeat(20_000) }))).toBe('too long');
  });

  it('is refused when it is random, and no other error is thrown', async () => {
    const header = await sent();
    const part = fc.oneof(fc.json(), fc.string()).map((text) => Buffer.from(text).toString('base64url'));
    const protectedHeader = fc
      .record({ alg: fc.constantFrom('RS256', 'none', 'HS256', 'EdDSA'), kid: fc.constantFrom(key.kid, 'x', 17) })
      .map(base64url);
    // The last character of a signature has unused bits, so it stays unchanged.
    const changed = fc
      .tuple(fc.integer({ min: 7, max: header.length - 2 }), fc.constantFrom('A', '_', '.', '', '=', ' ', 'é', '\0'))
      .map(([at, character]) => header.slice(0, at) + character + header.slice(at + 1))
      .filter((it) => it !== header);
    const strange = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string().map((text) => `Bearer ${text}`),
      fc.tuple(fc.oneof(part, protectedHeader), part, part).map((parts) => `Bearer ${parts.join('.')}`),
      changed,
    );
    await fc.assert(
      fc.asyncProperty(strange, async (text) => {
        // A changed name of the key may be that of a new key.
        expect(await outcome(tokens, text)).not.toBe('good');
      }),
      { numRuns: 1000 },
    );
    expect(await outcome(tokens, header)).toBe('good');
  });

  it('is accepted without another check for a minute, by the same audience', async () => {
    const header = await sent();
    expect(await outcome(tokens, header)).toBe('good');
    expect(await outcome(new OidcTokens(rules({ audience: 'other' })), header)).toBe('wrong audience');
    // The issuer withdraws its key. The next token, 11 minutes later, starts a fetch of the keys in the background.
    issuer.keys = [];
    clock.aheadMs = 11 * MINUTE_MS;
    const second = await sent();
    expect(await outcome(tokens, second)).toBe('good');
    await eventually(
      async () => outcome(tokens, await sent()),
      (it) => it === 'keys unavailable',
    );
    expect(issuer.asked).toHaveLength(3);
    clock.aheadMs += 45_000;
    expect(await outcome(tokens, second)).toBe('good');
    clock.aheadMs += 15_500;
    expect(await outcome(tokens, second)).toBe('unknown key');
  });

  it('is refused after its expiry although it was accepted before', async () => {
    const header = await sent({ exp: nowS() - 1 });
    expect(await outcome(tokens, header)).toBe('good');
    // 5 s of tolerance, and not the minute for which a valid token is accepted without another check.
    await eventually(
      () => outcome(tokens, header),
      (it) => it === 'expired',
      20_000,
    );
  });

  it('needs rules with an issuer and an audience', () => {
    const making = (wrong: Parameters<typeof rules>[0]) => () => new OidcTokens(rules(wrong));
    expect(making({ issuer: '' })).toThrow('an issuer and an audience');
    expect(making({ audience: '' })).toThrow('an issuer and an audience');
    expect(making({ jwksUrl: 'nowhere' })).toThrow('Invalid URL');
    expect(making({ issuer: 'no-url', jwksUrl: undefined })).toThrow('Invalid URL');
  });
});
