import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import type { JWTPayload } from 'jose';
import { TokenFile } from '../../src/infrastructure/broker/token-file.js';
import { OidcTokens, type TokenRules } from '../../src/infrastructure/http/oidc/oidc-tokens.js';
import '../support/frozen-clock.js';
import {
  base64url,
  bearer,
  clock,
  newKey,
  outcome,
  rulesFor,
  startIssuer,
  type Issuer,
  type Key,
} from '../support/issuer.js';

const HOUR_MS = 3_600_000;
/** A little more than the shortest pause between two fetches of the keys. */
const PAUSE_MS = 5100;
/** Tokens that may wait for a fetch at a time. */
const MAX_WAITING = 16;
/** Longest wait for a healthy issuer. */
const TIMEOUT_MS = 10_000;
/** Longest wait for an issuer that never answers. */
const SHORT_TIMEOUT_MS = 1000;

let issuer: Issuer;
let key: Key;
let next: Key;
let tokens: OidcTokens;
const sent = (by = key, claims?: JWTPayload) => bearer(issuer, by, claims);

beforeAll(async () => {
  Logger.overrideLogger(false);
  [key, next] = [await newKey('RS256'), await newKey('ES256')];
});
beforeEach(async () => {
  clock.aheadMs = 0;
  issuer = await startIssuer(key);
  tokens = new OidcTokens(rulesFor(issuer, { timeoutMs: TIMEOUT_MS }));
});
afterEach(() => issuer.close());

describe('The keys of an issuer', () => {
  it('are fetched once for many tokens, and not before the first token', async () => {
    const headers = await Promise.all(Array.from({ length: MAX_WAITING }, () => sent()));
    expect(issuer.asked).toEqual([]);
    const outcomes = await Promise.all(headers.map((header) => outcome(tokens, header)));
    expect(outcomes).toEqual(Array(MAX_WAITING).fill('good'));
    expect(issuer.asked).toEqual(['/keys']);
  });

  it('are fetched again when a token names a new key', async () => {
    expect(await outcome(tokens, await sent())).toBe('good');
    issuer.keys.push(next.jwk);
    clock.aheadMs = PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('good');
    expect(await outcome(tokens, await sent())).toBe('good');
    expect(issuer.asked).toHaveLength(2);
  });

  it('are unavailable, not without the key, until they may be fetched again', async () => {
    expect(await outcome(tokens, await sent())).toBe('good');
    issuer.keys.push(next.jwk);
    clock.aheadMs = 2000;
    const refusal: unknown = await tokens.verify(await sent(next)).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ name: 'KeysUnavailable', retryAfterS: 3 });
    expect((refusal as Error).message).toContain('a moment ago');
    expect(issuer.asked).toHaveLength(1);
    clock.aheadMs = PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('good');
    expect(await outcome(tokens, await sent({ ...next, kid: randomUUID() }))).toBe('keys unavailable');
    clock.aheadMs += PAUSE_MS;
    expect(await outcome(tokens, await sent({ ...next, kid: randomUUID() }))).toBe('unknown key');
  });

  it('are unavailable when the issuer was asked before the token came', async () => {
    issuer.behaviour = 'hanging';
    tokens = new OidcTokens(rulesFor(issuer, { timeoutMs: TIMEOUT_MS }));
    const first = sent().then((header) => outcome(tokens, header));
    while (issuer.asked.length === 0) await wait(5);
    const second = outcome(tokens, await sent(next));
    await wait(20);
    issuer.release();
    expect(await first).toBe('good');
    expect(await second).toBe('keys unavailable');
  });

  it('are unavailable for a new key right after they were renewed in the background', async () => {
    expect(await outcome(tokens, await sent())).toBe('good');
    clock.aheadMs = HOUR_MS;
    expect(await outcome(tokens, await sent())).toBe('good');
    while (issuer.asked.length < 2) await wait(5);
    issuer.keys.push(next.jwk);
    expect(await outcome(tokens, await sent(next))).toBe('keys unavailable');
    clock.aheadMs += PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('good');
  });

  it.each([
    ['an invented key', () => ({ ...next, kid: randomUUID() })],
    ['a known key with another algorithm', () => ({ ...next, kid: key.kid })],
  ])('are waited for by few tokens of %s, and others wait for nothing', async (_, forgedKey) => {
    expect(await outcome(tokens, await sent())).toBe('good');
    clock.aheadMs = PAUSE_MS;
    issuer.behaviour = 'hanging';
    const forged = await Promise.all(Array.from({ length: MAX_WAITING }, () => sent(forgedKey())));
    const waiting = forged.map((header) => outcome(tokens, header));
    while (issuer.asked.length < 2) await wait(5);
    expect(await outcome(tokens, await sent(forgedKey()))).toBe('keys unavailable');
    expect(await outcome(tokens, await sent(key, { jti: 'another' }))).toBe('good');
    issuer.release();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['unknown key']));
  });

  it('are accepted for twelve minutes after they were withdrawn, at most', async () => {
    expect(await outcome(tokens, await sent())).toBe('good');
    issuer.keys = [next.jwk];
    clock.aheadMs = HOUR_MS;
    expect(await outcome(tokens, await sent(key, { jti: 'late' }))).toBe('unknown key');
    expect(await outcome(tokens, await sent(next))).toBe('good');
  });

  it('are fetched again soon after a renewal has failed', async () => {
    expect(await outcome(tokens, await sent())).toBe('good');
    issuer.keys = [next.jwk];
    issuer.behaviour = 'failing';
    clock.aheadMs = HOUR_MS;
    expect(await outcome(tokens, await sent(key, { jti: 'failing' }))).toBe('good');
    issuer.behaviour = 'good';
    clock.aheadMs += PAUSE_MS;
    expect(await outcome(tokens, await sent(key, { jti: 'recovered' }))).toBe('unknown key');
  });

  it('are fetched at most once per pause for a flood of tokens with unknown keys', async () => {
    const flood = async () => {
      const outcomes = new Set<string>();
      for (let n = 0; n < 10; n++) {
        const headers = await Promise.all(Array.from({ length: 20 }, () => sent({ ...next, kid: randomUUID() })));
        for (const it of await Promise.all(headers.map((header) => outcome(tokens, header)))) outcomes.add(it);
      }
      return [...outcomes];
    };
    expect(await flood()).toEqual(['unknown key', 'keys unavailable']);
    expect(issuer.asked).toHaveLength(1);
    clock.aheadMs += PAUSE_MS;
    expect(await flood()).toEqual(['unknown key', 'keys unavailable']);
    expect(issuer.asked).toHaveLength(2);
    clock.aheadMs += PAUSE_MS;
    issuer.behaviour = 'failing';
    expect(await flood()).toEqual(['keys unavailable']);
    expect(issuer.asked).toHaveLength(3);
    expect(await outcome(tokens, await sent())).toBe('good');
  });

  it.each(['failing', 'garbage', 'without a set', 'redirecting', 'hanging', 'stalling', 'closed'] as const)(
    'are unavailable while the issuer is %s, until it recovers',
    async (how) => {
      tokens = new OidcTokens(rulesFor(issuer, { timeoutMs: SHORT_TIMEOUT_MS }));
      if (how === 'closed') await issuer.close();
      else issuer.behaviour = how;
      const header = await sent();
      expect(await outcome(tokens, header)).toBe('keys unavailable');
      if (how === 'closed') await issuer.reopen();
      issuer.behaviour = 'good';
      expect(await outcome(tokens, header)).toBe('keys unavailable');
      clock.aheadMs = PAUSE_MS;
      expect(await outcome(tokens, header)).toBe('good');
    },
  );

  it.each(['failing', 'hanging', 'closed'] as const)('stay valid while the issuer is %s', async (how) => {
    tokens = new OidcTokens(rulesFor(issuer, { timeoutMs: SHORT_TIMEOUT_MS }));
    expect(await outcome(tokens, await sent())).toBe('good');
    issuer.keys.push(next.jwk);
    if (how === 'closed') await issuer.close();
    else issuer.behaviour = how;
    for (const hours of [0, 1, 30]) {
      clock.aheadMs = hours * HOUR_MS + PAUSE_MS;
      expect(await outcome(tokens, await sent())).toBe('good');
      expect(await outcome(tokens, await sent(next))).toBe('keys unavailable');
    }
    if (how === 'closed') await issuer.reopen();
    issuer.behaviour = 'good';
    clock.aheadMs += PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('good');
  });

  it('are unavailable with a reason in the error', async () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
    issuer.keys = [{ ...weak.publicKey.export({ format: 'jwk' }), kid: 'weak' }];
    const signed = `${base64url({ alg: 'RS256', kid: 'weak' })}.${base64url({})}`;
    const signature = sign('sha256', Buffer.from(signed), weak.privateKey).toString('base64url');
    await expect(tokens.verify(`Bearer ${signed}.${signature}`)).rejects.toThrow(/can't be used: .*2048 bits/);
    const failing = async (timeoutMs = TIMEOUT_MS) =>
      new OidcTokens(rulesFor(issuer, { timeoutMs })).verify(await sent());
    issuer.behaviour = 'failing';
    await expect(failing()).rejects.toThrow(`${issuer.keysUrl} answered 500`);
    issuer.behaviour = 'hanging';
    await expect(failing(200)).rejects.toThrow('timed out');
    await issuer.close();
    await expect(failing()).rejects.toThrow('ECONNREFUSED');
  });
});

describe('The discovery of keys', () => {
  const discovering = (rules?: Partial<TokenRules>) =>
    new OidcTokens(rulesFor(issuer, { jwksUrl: undefined, timeoutMs: TIMEOUT_MS, ...rules }));

  it('is done once', async () => {
    tokens = discovering();
    expect(await outcome(tokens, await sent())).toBe('good');
    issuer.keys.push(next.jwk);
    clock.aheadMs = PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('good');
    expect(issuer.asked).toEqual(['/.well-known/openid-configuration', '/keys', '/keys']);
  });

  it.each<[string, () => unknown]>([
    ['is of another issuer', () => ({ issuer: 'https://elsewhere.example', jwks_uri: issuer.keysUrl })],
    ['names no key set', () => ({ issuer: issuer.url })],
    ['names an invalid URL', () => ({ issuer: issuer.url, jwks_uri: 'nowhere' })],
    ['names an unencrypted URL', () => ({ issuer: issuer.url, jwks_uri: 'http://issuer.example/keys' })],
    ['is null', () => null],
  ])('leaves the keys unavailable while the document %s', async (_, document) => {
    tokens = discovering();
    const right = issuer.document;
    issuer.document = document();
    expect(await outcome(tokens, await sent())).toBe('keys unavailable');
    issuer.document = right;
    clock.aheadMs = PAUSE_MS;
    expect(await outcome(tokens, await sent())).toBe('good');
  });

  it('refuses keys from another machine without https, with a reason in the error', async () => {
    issuer.document = { issuer: issuer.url, jwks_uri: 'http://issuer.example/keys' };
    await expect(discovering().verify(await sent())).rejects.toThrow(
      `${issuer.url}/.well-known/openid-configuration names the key set http://issuer.example/keys, which is not encrypted`,
    );
  });

  it('is repeated when the key set has moved', async () => {
    tokens = discovering();
    expect(await outcome(tokens, await sent())).toBe('good');
    const moved = await startIssuer(key, next);
    issuer.behaviour = 'failing';
    clock.aheadMs += PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('keys unavailable');
    issuer.behaviour = 'good';
    issuer.document = { issuer: issuer.url, jwks_uri: moved.keysUrl };
    clock.aheadMs += PAUSE_MS;
    expect(await outcome(tokens, await sent(next))).toBe('good');
    await moved.close();
  });

  it('sends the credentials that it is given, and none otherwise', async () => {
    expect(await outcome(discovering(), await sent())).toBe('good');
    const folder = mkdtempSync(join(tmpdir(), 'key-set-'));
    const path = join(folder, 'token');
    writeFileSync(path, 'of-the-service-account\n');
    expect(await outcome(discovering({ credentials: new TokenFile(path) }), await sent())).toBe('good');
    const shown = 'Bearer of-the-service-account';
    expect(issuer.authorizations).toEqual([undefined, undefined, shown, shown]);
    rmSync(folder, { recursive: true });
    const missing = discovering({ credentials: new TokenFile(path) });
    await expect(missing.verify(await sent())).rejects.toThrow(`are not available: The token file ${path}`);
  });
});
