import { createHmac } from 'node:crypto';
import { Agent } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportSPKI, type JWTPayload } from 'jose';
import { HISTORIES } from '../../migrations/histories.js';
import { MeshListener } from '../../src/infrastructure/http/mesh-listener.js';
import type { Problem } from '../../src/infrastructure/http/problem.js';
import { migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { deliveriesOf, everyEvent, everyQuery, isPermitted, routesOf, send, spellingsOf } from '../support/attacks.js';
import type { Answer, Attack } from '../support/attacks.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { AUDIENCE, base64url, bearer, clock, newKey, nowS, startIssuer } from '../support/issuer.js';
import type { Issuer, Key } from '../support/issuer.js';
import { startServer } from '../support/server.js';

/** A little more than the shortest pause between two fetches of the keys. */
const PAUSE_MS = 5100;
const JSON_BODY = { 'content-type': 'application/json' };
const JANE = JSON.stringify({ name: 'Jane', lastName: 'Roe' });

let agent: Agent;
let issuer: Issuer;
/** As Keycloak and Auth0 name theirs: with a path, and a slash at its end. */
let issuerName: string;
let key: Key;

beforeAll(async () => {
  agent = new Agent({ keepAlive: true });
  key = await newKey('RS256');
});
beforeEach(() => {
  issuer.behaviour = 'good';
});
afterAll(() => agent.destroy());

async function openIssuer(): Promise<Record<string, string>> {
  issuer = await startIssuer(key);
  issuerName = `${issuer.url}/realms/cabs/`;
  issuer.document = { issuer: issuerName, jwks_uri: issuer.keysUrl };
  return { AUTH_ISSUER: issuerName, AUTH_AUDIENCE: AUDIENCE };
}

const tokenOf = (claims: JWTPayload = {}, by = key) => bearer(issuer, by, { iss: issuerName, sub: 'jane', ...claims });

/** Authorization headers that are refused, by the reason. */
const refused: Record<string, () => Promise<string | string[]>> = {
  expired: () => tokenOf({ exp: nowS() - 60 }),
  'not yet valid': () => tokenOf({ nbf: nowS() + 600 }),
  'no expiry': () => tokenOf({ exp: undefined }),
  'no subject': () => tokenOf({ sub: undefined }),
  'wrong audience': () => tokenOf({ aud: 'another' }),
  'wrong issuer': () => tokenOf({ iss: issuerName.slice(0, -1) }),
  'wrong signature': async () => tokenOf({}, { ...(await newKey('RS256')), kid: key.kid }),
  unsigned: async () => `Bearer ${base64url({ alg: 'none', kid: key.kid })}.${base64url(claims())}.`,
  'algorithm not allowed': async () => {
    const signed = `${base64url({ alg: 'HS256', kid: key.kid })}.${base64url(claims())}`;
    const secret = await exportSPKI(key.publicKey);
    return `Bearer ${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  },
  'not a signed token': async () => 'Bearer open-sesame-open-sesame',
  'no bearer token': async () => 'Bearer',
  'too long': async () => `Bearer a.${'b'.repeat(10_000)}.c`,
  'several Authorization headers': async () => [await tokenOf(), await tokenOf()],
};
const claims = () => ({ iss: issuerName, aud: AUDIENCE, sub: 'jane', exp: nowS() + 600 });

describe.each([
  ['on the port of the mesh', {}],
  ['on a port of its own', { MESH_PORT: '0' }],
])('REST that demands tokens, %s,', (_, environment) => {
  const isSeparate = 'MESH_PORT' in environment;
  let cabs: Cabs;
  let ports: { rest: number; mesh: number };

  beforeAll(async () => {
    const variables = { ...(await openIssuer()), MESH_RECEIVE: 'true', ...environment };
    cabs = await startCabs(await DATABASES[0]!.fresh(), variables);
    await cabs.app.listen(0, '127.0.0.1');
    const { port } = cabs.app.getHttpServer().address() as AddressInfo;
    ports = { rest: port, mesh: cabs.app.get(MeshListener).port ?? port };
  });
  afterAll(async () => {
    await cabs.close();
    await issuer.close();
  });

  const ask = (attack: Attack, authorization?: string | string[], port = ports.rest) => {
    // Node sends a list as several headers.
    const headers = { ...attack.headers, ...(authorization !== undefined && { authorization }) };
    return send(port, { ...attack, headers: headers as Record<string, string> }, agent);
  };
  const get = (path: string, authorization?: string, port = ports.rest) =>
    ask({ method: 'GET', path }, authorization, port);
  const register = (authorization?: string | string[], headers: Record<string, string> = {}) =>
    ask({ method: 'POST', path: '/clients', headers: { ...JSON_BODY, ...headers }, body: JANE }, authorization);
  const bodyOf = <Body>({ text }: Answer) => JSON.parse(text) as Body;

  it('answers 503 while the issuer gives no keys, and says nothing of its answers', async () => {
    issuer.behaviour = 'failing';
    const early = await register(await tokenOf());
    expect(early).toMatchObject({
      status: 503,
      headers: { 'retry-after': expect.stringMatching(/^[1-5]$/) as unknown },
    });
    expect(early.headers).not.toHaveProperty('www-authenticate');
    expect(bodyOf<Problem>(early).detail).toMatch(/^The keys of the issuer are not available, .* try again$/);
    expect(early.text).not.toContain(issuer.url);
    issuer.behaviour = 'good';
    clock.aheadMs += PAUSE_MS;
    expect((await register(await tokenOf())).status).toBe(201);
    expect(issuer.asked).toEqual([
      '/realms/cabs/.well-known/openid-configuration',
      '/realms/cabs/.well-known/openid-configuration',
      '/keys',
    ]);
  });

  it('refuses every route of its controllers without a token', async () => {
    const routes = routesOf(cabs.app).filter(({ path }) => !/^\/(mesh|health)\//.test(path));
    expect(routes.length).toBeGreaterThan(10);
    for (const route of routes) {
      for (const authorization of [undefined, 'Basic amFuZTpyb2U=', 'Bearerx']) {
        const { status, headers } = await ask(route, authorization);
        const found = { ...route, status, challenge: headers['www-authenticate'] };
        expect(found).toEqual({ ...route, status: 401, challenge: 'Bearer' });
      }
    }
    const problem = bodyOf<Problem>(await register());
    expect(problem).toMatchObject({ status: 401, title: 'Authentication required', instance: '/clients' });
    expect(problem.errors).toEqual([{ field: 'Authorization', detail: problem.detail }]);
    for (const it of ['Authorization: Bearer <token>', issuerName, AUDIENCE]) expect(problem.detail).toContain(it);
  });

  it('finds no spelling of a path that needs none', async () => {
    const { id } = bodyOf<{ id: number }>(await register(await tokenOf()));
    for (const path of spellingsOf(`/clients/${id}`)) {
      const { status } = await get(path);
      expect([path, [401, 404].includes(status)]).toEqual([path, true]);
    }
  });

  it('accepts a valid token, with the scheme in any case', async () => {
    const authorization = await tokenOf();
    for (const scheme of ['Bearer', 'bearer', 'BEARER', 'Bearer '])
      expect([scheme, (await register(authorization.replace('Bearer', scheme))).status]).toEqual([scheme, 201]);
    expect((await get('/clients/1', authorization)).status).toBe(200);
    expect((await get('/clients/999999', authorization)).status).toBe(404);
  });

  it.each(Object.entries(refused))('refuses a token: %s', async (reason, make) => {
    const authorization = await make();
    const answer = await register(authorization);
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe(`Bearer error="invalid_token", error_description="${reason}"`);
    const { detail, errors } = bodyOf<Problem>(answer);
    expect(detail).toBe(
      `The token is not accepted (${reason}): send Authorization: Bearer <token>, with a token of ${issuerName} for ` +
        `the audience ${AUDIENCE}`,
    );
    expect(errors).toEqual([{ field: 'Authorization', detail }]);
    const parts = [authorization].flat().flatMap((it) => it.replace(/^Bearer ?/, '').split('.'));
    for (const part of parts.filter(({ length }) => length > 8)) expect(answer.text).not.toContain(part.slice(0, 20));
  });

  it('refuses a token that is longer than all headers may be', async () => {
    expect((await register(`Bearer a.${'b'.repeat(20_000)}.c`)).status).toBe(431);
  });

  it('accepts a new key of the issuer, and answers 503 until it may ask for it', async () => {
    const next = await newKey('ES256');
    clock.aheadMs += PAUSE_MS;
    expect((await register(await tokenOf({}, next))).status).toBe(401);
    issuer.keys = [next.jwk];
    const early = await register(await tokenOf({}, next));
    expect(early).toMatchObject({
      status: 503,
      headers: { 'retry-after': expect.stringMatching(/^[1-5]$/) as unknown },
    });
    clock.aheadMs += PAUSE_MS;
    issuer.behaviour = 'hanging';
    // A known key needs no answer of the issuer.
    expect((await register(await tokenOf())).status).toBe(201);
    issuer.behaviour = 'good';
    expect((await register(await tokenOf({}, next))).status).toBe(201);
    issuer.keys = [key.jwk, next.jwk];
    clock.aheadMs += PAUSE_MS;
    await register(await tokenOf({}, await newKey('ES256')));
  });

  it('gives an Idempotency-Key to the subject: a new token keeps it, another subject has its own', async () => {
    const repeated = async (token: JWTPayload) =>
      bodyOf<{ id: number }>(await register(await tokenOf(token), { 'idempotency-key': 'once' })).id;
    const first = await repeated({ sub: 'ada' });
    expect(await repeated({ sub: 'ada', exp: nowS() + 60 })).toBe(first);
    const other = await repeated({ sub: 'bob' });
    expect(other).not.toBe(first);
    expect(await repeated({ sub: 'bob' })).toBe(other);
    expect(await repeated({ sub: 'ada' })).toBe(first);
  });

  it('leaves the probes and the mesh to their own guards', async () => {
    for (const port of new Set(Object.values(ports))) {
      for (const path of ['/health/live', '/health/ready']) expect((await get(path, undefined, port)).status).toBe(200);
    }
    const event = everyEvent(crypto.randomUUID()).find(
      ({ type, source }) => type === 'cabs.loyalty.register-miles' && isPermitted(type, source),
    )!;
    for (const attack of deliveriesOf(event, '/mesh/loyalty')) {
      expect((await ask(attack, undefined, ports.mesh)).status).toBe(204);
    }
    for (const query of everyQuery()) expect((await ask(query, undefined, ports.mesh)).status).toBe(200);
    expect((await get('/mesh/outbox', undefined, ports.mesh)).status).toBe(200);
    expect((await get('/mesh/outbox', undefined, ports.rest)).status).toBe(isSeparate ? 404 : 200);
    // Without a token, too: the mesh's port has no REST.
    expect((await get('/clients/1', undefined, ports.mesh)).status).toBe(isSeparate ? 404 : 401);
  });

  it('shows the API page, whose document says which routes need a token', async () => {
    expect((await get('/api')).status).toBe(200);
    const document = bodyOf<{ paths: Record<string, { post: object }> }>(await get('/api-json'));
    expect(document).toMatchObject({
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
      security: [{ bearer: [] }],
      paths: {
        '/health/live': { get: { security: [] } },
        ...(!isSeparate && { '/mesh/outbox': { get: { security: [] } } }),
      },
    });
    expect(document.paths['/clients']!.post).not.toHaveProperty('security');
  });
});

describe('REST', () => {
  beforeAll(async () => {
    clock.aheadMs = 0;
    await openIssuer();
  });
  afterAll(() => issuer.close());

  it('is open in development, and its document names no scheme', async () => {
    const cabs = await startCabs(await DATABASES[0]!.fresh());
    expect((await cabs.http.post('/clients').set(JSON_BODY).send(JANE)).status).toBe(201);
    const { body } = await cabs.http.get('/api-json');
    expect(body).not.toHaveProperty('security');
    expect(body.components).not.toHaveProperty('securitySchemes');
    await cabs.close();
  });

  it('is closed in production, where no token is logged', async () => {
    const database = await DATABASES[0]!.fresh();
    await migrateDatabase(database, [meshMigrations, ...HISTORIES]);
    const production = { DATABASE_URL: database, NODE_ENV: 'production', MESH_PORT: '0', LOG_LEVEL: 'trace' };
    await expect(startServer(production)).rejects.toThrow(/ended:\nInvalid environment variable AUTH: [^\n]+\n$/);

    const server = await startServer({ ...production, AUTH_ISSUER: issuerName, AUTH_AUDIENCE: AUDIENCE });
    const authorizations = [await tokenOf(), await tokenOf({ aud: 'x' }), await tokenOf({}, await newKey('ES256'))];
    const statuses: number[] = [];
    for (const authorization of authorizations) {
      const init = { method: 'POST', body: JANE, headers: { ...JSON_BODY, authorization } };
      statuses.push((await fetch(`${server.url}/clients`, init)).status);
    }
    // The key of the last token may be a new one.
    expect(statuses).toEqual([201, 401, 503]);
    await eventually(
      async () => server.lines(),
      (lines) => lines.filter((it) => it.includes('/clients')).length >= 3,
    );
    await server.end('SIGKILL');
    const log = server.lines().join('\n');
    for (const part of authorizations.flatMap((it) => it.slice('Bearer '.length).split('.')))
      expect(log).not.toContain(part.slice(0, 30));
  });
});
