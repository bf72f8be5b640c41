import { createHmac } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportSPKI } from 'jose';
import { request } from 'undici';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { AUDIENCE, base64url, bearer, newKey, nowS, startIssuer, type Issuer, type Key } from '../support/issuer.js';
import { startServer, type ServerProcess } from '../support/server.js';

describe('A broker ingress that requires a token', () => {
  let server: ServerProcess;
  let issuer: Issuer;
  let key: Key;
  let log = '';

  beforeAll(async () => {
    key = await newKey('RS256');
    issuer = await startIssuer(key);
    const accountToken = join(mkdtempSync(join(tmpdir(), 'cabs-account-')), 'token');
    writeFileSync(accountToken, 'of-this-account');
    server = await startServer({
      DATABASE_URL: await DATABASES[0]!.fresh(),
      MESH_TRANSPORT: 'knative',
      K_SINK: 'http://127.0.0.1:9/cabs/default',
      MESH_OIDC_ISSUER: issuer.url,
      MESH_OIDC_AUDIENCE: AUDIENCE,
      MESH_OIDC_JWKS: issuer.keysUrl,
      MESH_OIDC_SUBJECTS: 'system:serviceaccount:mesh:broker',
      MESH_OIDC_CREDENTIALS_FILE: accountToken,
    });
    for (const stream of [server.process.stdout!, server.process.stderr!]) {
      stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
    }
  }, 60_000);
  afterAll(async () => {
    await server.end('SIGTERM');
    await issuer.close();
  });

  const post = async (path: string, authorization?: string) => {
    const { headers, body } = HTTP.binary({
      specversion: '1.0',
      id: crypto.randomUUID(),
      source: 'usvc://cabs/rides',
      type: 'cabs.loyalty.register-miles',
      subject: crypto.randomUUID(),
      datacontenttype: 'application/json',
      data: { 'client-id': 1 },
    });
    const more = authorization === undefined ? {} : { authorization };
    const reply = await request(`${server.url}${path}`, { method: 'POST', headers: { ...headers, ...more }, body });
    return { status: reply.statusCode, text: await reply.body.text(), headers: reply.headers };
  };

  it('accepts a delivery with a valid token', async () => {
    const valid = await bearer(issuer, key);
    for (const path of ['/mesh/loyalty', '/', '/mesh/flush']) {
      expect({ path, ...(await post(path, valid)) }).toMatchObject({ path, status: 204, text: '' });
    }
    // The request for the keys carries the credentials of this process.
    expect(issuer.authorizations).toEqual(['Bearer of-this-account']);
  });

  it('refuses every other delivery with 401, and logs no part of the token', async () => {
    const other = await newKey('RS256');
    const claims = { iss: issuer.url, aud: AUDIENCE, exp: nowS() + 600 };
    const none = `${base64url({ alg: 'none', kid: key.kid })}.${base64url(claims)}`;
    const hmac = `${base64url({ alg: 'HS256', kid: key.kid })}.${base64url(claims)}`;
    const forged = createHmac('sha256', await exportSPKI(key.publicKey))
      .update(hmac)
      .digest('base64url');
    const tokens: Record<string, string | undefined> = {
      'no token': undefined,
      expired: await bearer(issuer, key, { exp: nowS() - 60 }),
      'wrong audience': await bearer(issuer, key, { aud: 'another-audience' }),
      'wrong issuer': await bearer(issuer, key, { iss: 'https://elsewhere.example' }),
      unsigned: `Bearer ${none}.`,
      'not a signed token': `Bearer ${none}`,
      'algorithm not allowed': `Bearer ${hmac}.${forged}`,
      'no subject': await bearer(issuer, key, { sub: undefined }),
      'wrong signature': await bearer(issuer, { ...other, kid: key.kid }),
    };
    for (const [why, token] of Object.entries(tokens)) {
      log = '';
      const { status, text, headers } = await post('/mesh/loyalty', token);
      expect({ why, status, text }).toEqual({ why, status: 401, text: expect.stringContaining(why) as unknown });
      expect(headers['www-authenticate']).toBe('Bearer');
      expect(Buffer.byteLength(text)).toBeLessThan(512);
      await eventually(
        async () => log,
        (it) => it.includes(why),
      );
      for (const part of (token ?? '').replace('Bearer ', '').split('.')) {
        if (part.length > 8) expect(`${log}${text}`).not.toContain(part.slice(0, 30));
      }
    }
    for (const path of ['/', '/mesh/flush', '/mesh/unknown']) expect((await post(path)).status).toBe(401);
  });

  it('answers 503 while the keys for a new token are unavailable', async () => {
    const next = await newKey('ES256');
    const token = await bearer(issuer, next);
    // Has the keys fetched, if they may be fetched.
    await post('/mesh/loyalty', await bearer(issuer, await newKey('ES256')));
    const early = await post('/mesh/loyalty', token);
    expect(early).toMatchObject({ status: 503, headers: { 'retry-after': expect.stringMatching(/^[1-5]$/) } });
    issuer.behaviour = 'failing';
    // The keys are fetched at most every 5 s. After a failed fetch an unknown key may be a new key.
    await new Promise((resolve) => setTimeout(resolve, 5100));
    expect(await post('/mesh/loyalty', token)).toMatchObject({ status: 503 });
    issuer.behaviour = 'good';
    issuer.keys.push(next.jwk);
    await new Promise((resolve) => setTimeout(resolve, 5100));
    expect(await post('/mesh/loyalty', token)).toMatchObject({ status: 204 });
  }, 60_000);
});
