import { mkdtempSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PICKUP, PLANNED } from '../../src/demo.js';
import { OidcTokens } from '../../src/infrastructure/http/oidc/oidc-tokens.js';
import { QueryCallers } from '../../src/infrastructure/cqrs/query-callers.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { AUDIENCE, bearer, newKey, rulesFor, startIssuer, type Issuer, type Key } from '../support/issuer.js';
import { newClient } from '../support/rest.js';

const RIDES = 'system:serviceaccount:cabs:rides';
const DRIVERS = 'system:serviceaccount:cabs:drivers';

describe('A query between processes', () => {
  let issuer: Issuer;
  let key: Key;

  beforeAll(async () => {
    key = await newKey('RS256');
    issuer = await startIssuer(key);
  });
  afterAll(() => issuer.close());

  describe('with tokens', () => {
    const tokenFile = join(mkdtempSync(join(tmpdir(), 'cabs-query-')), 'token');
    let geolocation: Cabs;
    let rides: Cabs;

    beforeAll(async () => {
      writeFileSync(tokenFile, 'not yet a token');
      const split = { MESH_TRANSPORT: 'knative', K_SINK: 'http://127.0.0.1:9/cabs/default', SHUTDOWN_GRACE: 'PT0.2S' };
      geolocation = await startCabs(await DATABASES[0]!.fresh(), {
        ...split,
        MODULES: 'geolocation',
        MESH_OIDC_ISSUER: issuer.url,
        MESH_OIDC_AUDIENCE: AUDIENCE,
        MESH_OIDC_JWKS: issuer.keysUrl,
        MESH_OIDC_SUBJECTS: 'system:serviceaccount:mesh:broker',
        MESH_OIDC_CALLERS: `rides=${RIDES},drivers=${DRIVERS}`,
      });
      await geolocation.app.listen(0, '127.0.0.1');
      const { port } = geolocation.app.getHttpServer().address() as AddressInfo;
      rides = await startCabs(await DATABASES[0]!.fresh(), {
        ...split,
        MODULES: 'rides,clients',
        USVC_GEOLOCATION: `http://127.0.0.1:${port}`,
        MESH_OIDC_QUERY_TOKEN_FILE: tokenFile,
      });
    });
    afterAll(async () => {
      await rides.close();
      await geolocation.close();
    });

    it('is answered after the token file was replaced, because a 401 has it read again', async () => {
      const order = { clientId: await newClient(rides), from: PICKUP, to: PLANNED };
      expect((await rides.http.post('/transits').send(order)).status).toBe(503);
      writeFileSync(tokenFile, (await bearer(issuer, key, { sub: RIDES })).slice('Bearer '.length));
      expect((await rides.http.post('/transits').send(order)).status).toBe(201);
    });

    it('is refused with a problem document', async () => {
      const ask = () => geolocation.http.post('/mesh/queries/measure-route').send({ from: PICKUP, to: PLANNED });
      const nothing = await ask();
      expect(nothing.headers['www-authenticate']).toBe('Bearer');
      expect(nothing.body).toMatchObject({ status: 401, detail: 'no token' });
      const stranger = await bearer(issuer, key, { sub: 'system:serviceaccount:cabs:loyalty' });
      expect((await ask().set('Authorization', stranger)).body).toMatchObject({
        status: 403,
        detail: expect.stringContaining('broker.tokens.callers') as unknown,
      });
      const forbidden = await bearer(issuer, key, { sub: DRIVERS });
      expect((await ask().set('Authorization', forbidden)).body).toMatchObject({
        status: 403,
        detail: 'drivers may not ask measure-route: the contract names who may',
      });
    });
  });

  it('makes the modules known that ask with its subject', async () => {
    const tokens = new OidcTokens(rulesFor(issuer, { timeoutMs: 10_000 }));
    const callers = { rides: [RIDES, 'another'], drivers: ['another'] };
    const askedBy = async (subject: string, verifier: OidcTokens | undefined = tokens) => {
      const authorization = await bearer(issuer, key, { sub: subject });
      const request = { headersDistinct: { authorization: [authorization] } } as unknown as IncomingMessage;
      const guard = new QueryCallers(verifier, callers);
      await guard.authorize(request);
      return guard.of(request);
    };
    expect(await askedBy(RIDES)).toEqual(['rides']);
    expect(await askedBy('another')).toEqual(['rides', 'drivers']);
    await expect(askedBy('__proto__')).rejects.toThrow('broker.tokens.callers');
    expect(new QueryCallers(tokens, callers).of({} as IncomingMessage)).toBeUndefined();
  });
});
