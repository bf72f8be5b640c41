import { Agent } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { JWTPayload } from 'jose';
import { HISTORIES } from '../../migrations/histories.js';
import { DEMO_DRIVER, DEMO_RIDE } from '../../src/demo.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HandlerRegistry } from '../../src/infrastructure/contracts/handler-registry.js';
import { MESH_ROUTES, type MeshRoute } from '../../src/infrastructure/http/mesh-route.js';
import { MeshListener } from '../../src/infrastructure/http/mesh-listener.js';
import { migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { contentsOf, deliveriesOf, everyEvent, everyQuery, isPermitted, MODULE_NAMES } from '../support/attacks.js';
import { routesOf, send, spellingsOf, type Answer, type Attack } from '../support/attacks.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { FakeBroker } from '../support/fake-broker.js';
import { AUDIENCE, base64url, bearer, newKey, nowS, startIssuer, type Issuer, type Key } from '../support/issuer.js';
import { runConcurrently } from '../support/server.js';

const UNKNOWN_KEY = 'a key that the issuer does not know';
const BROKER = 'system:serviceaccount:cabs:broker';
const LOYALTY_TRIGGER = 'system:serviceaccount:cabs:loyalty-oidc-eventing.knative.dev-trigger';
const CALLERS = Object.fromEntries(MODULE_NAMES.map((it) => [it, `system:serviceaccount:cabs:${it}`]));
const RIDES = CALLERS.rides!;
const ADMIN_TOKEN = 'an administration token';
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'];

/** The page of the console, which asks for a token itself, and where it sends that. */
function isOfPage({ method, path }: { method: string; path: string }): boolean {
  if (path === '/mesh/console/session') return method !== 'GET';
  return /^\/mesh\/console(\/(app\.(js|css)|icon\.svg))?$/.test(path);
}

describe.each(DATABASES)('A process in production on $kind', ({ fresh }) => {
  let cabs: Cabs;
  let database: string;
  let broker: FakeBroker;
  let issuer: Issuer;
  let key: Key;
  let agent: Agent;
  let ports: { public: number; mesh: number };
  let before: Record<string, string[]>;

  beforeAll(async () => {
    agent = new Agent({ keepAlive: true, maxSockets: 8 });
    key = await newKey('RS256');
    issuer = await startIssuer(key);
    broker = new FakeBroker();
    await broker.open();
    database = await fresh();
    await migrateDatabase(database, [meshMigrations, ...HISTORIES]);
    cabs = await startCabs(database, {
      NODE_ENV: 'production',
      MESH_JOURNAL: 'P1D',
      SEED: 'demo',
      MESH_TRANSPORT: 'knative',
      K_SINK: broker.url,
      MESH_ADMIN_TOKEN: ADMIN_TOKEN,
      MESH_RECONCILE_EVERY: 'PT0S',
      MESH_OIDC_ISSUER: issuer.url,
      MESH_OIDC_AUDIENCE: AUDIENCE,
      MESH_OIDC_JWKS: issuer.keysUrl,
      MESH_OIDC_SUBJECTS: `${BROKER}, loyalty=${LOYALTY_TRIGGER}`,
      MESH_OIDC_CALLERS: Object.entries(CALLERS)
        .map((it) => it.join('='))
        .join(','),
    });
    await cabs.app.listen(0, '127.0.0.1');
    const { port } = cabs.app.getHttpServer().address() as AddressInfo;
    ports = { public: port, mesh: cabs.app.get(MeshListener).port! };
  });
  afterAll(async () => {
    agent.destroy();
    await cabs.close();
    await broker.close();
    await issuer.close();
  });
  beforeEach(async () => {
    before = await contentsOf(database);
  });

  /** Sends all requests. @returns the distinct statuses, each with one request that got it */
  const statusesOf = async (port: number, attacks: readonly Attack[], headers: Record<string, string> = {}) => {
    const found = new Map<number, string>();
    await runConcurrently(8, attacks.length, async (index) => {
      const attack = attacks[index]!;
      const { status } = await send(port, { ...attack, headers: { ...attack.headers, ...headers } }, agent);
      found.set(status, `${attack.method} ${attack.path}`);
    });
    return Object.fromEntries(found);
  };
  const expectStatuses = (found: Record<number, string>, ...expected: number[]) => {
    expect(found).toEqual(Object.fromEntries(expected.map((it) => [it, expect.any(String) as unknown])));
  };
  // A comparison that sees no rows would prove nothing.
  it('has rows that an attack could change', () => {
    for (const table of ['rides_transit', 'drivers_driver', 'clients_client'])
      expect(before[table]!.length).toBeGreaterThan(0);
  });

  const expectNothingChanged = async () => expect(await contentsOf(database)).toEqual(before);
  const events = () => everyEvent(DEMO_RIDE);
  const deliveries = (of = events()) => {
    const paths = ['/', ...MODULE_NAMES.map((it) => `/mesh/${it}`)];
    return of.flatMap((event, index) => deliveriesOf(event, paths[index % paths.length]!));
  };
  const spelled = (attacks: readonly Attack[]) =>
    attacks.flatMap((it) => spellingsOf(it.path).map((path) => ({ ...it, path })));
  /** One event per type. */
  const types = () => [...new Map(events().map((event) => [event.type, event])).values()];
  const meshRoutes = () =>
    cabs.app.get<readonly MeshRoute[]>(MESH_ROUTES).filter(({ path }) => path.startsWith('/mesh/'));
  const token = (subject: string, claims: JWTPayload = {}) => bearer(issuer, key, { sub: subject, ...claims });

  describe('has nothing of the mesh on its public port:', () => {
    it('no delivery of any message, in any mode, from any source', async () => {
      expect(types().length).toBeGreaterThan(10);
      expectStatuses(await statusesOf(ports.public, deliveries()), 404);
      await expectNothingChanged();
    });

    it('no delivery with a valid token, under any spelling of the path', async () => {
      const authorization = await token(BROKER);
      const attacks = types().flatMap((event) => [
        ...deliveriesOf(event, `/mesh/${event.type.split('.')[1]!}`).slice(0, 1),
        ...deliveriesOf(event, '/').slice(0, 1),
      ]);
      attacks.push({ method: 'POST', path: '/mesh/flush' }, ...deliveriesOf(types()[0]!, '/mesh/dead-letters'));
      expectStatuses(await statusesOf(ports.public, spelled(attacks), { authorization }), 404);
      await expectNothingChanged();
    });

    it('no query, under any spelling of the path', async () => {
      expect(everyQuery().length).toBeGreaterThan(5);
      const authorization = await token(RIDES);
      expectStatuses(await statusesOf(ports.public, spelled(everyQuery()), { authorization }), 404);
    });

    it('no administration, with any method', async () => {
      const paths = [...new Set(meshRoutes().map(({ path }) => path))];
      expect(paths).toEqual(expect.arrayContaining(['/mesh/outbox', '/mesh/dead-letters/replay']));
      const attacks = paths.flatMap((path) => METHODS.map((method) => ({ method, path })));
      expectStatuses(await statusesOf(ports.public, spelled(attacks), { authorization: `Bearer ${ADMIN_TOKEN}` }), 404);
      await expectNothingChanged();
    });

    it('also for a request that claims to come by the other port', async () => {
      const forged = {
        authorization: `Bearer ${ADMIN_TOKEN}`,
        host: `localhost:${ports.mesh}`,
        forwarded: `host="localhost:${ports.mesh}"`,
        'x-forwarded-port': String(ports.mesh),
        'x-forwarded-host': `localhost:${ports.mesh}`,
        'x-original-url': '/mesh/outbox',
        'x-http-method-override': 'GET',
      };
      expectStatuses(await statusesOf(ports.public, meshRoutes(), forged), 404);
    });
  });

  describe("on the mesh's port", () => {
    /** Authorization headers that are not valid, by what is wrong with them. */
    const forgeries = async (subject: string): Promise<Record<string, string>> => {
      const stranger = await newKey('RS256');
      const claims = { iss: issuer.url, aud: AUDIENCE, sub: subject, exp: nowS() + 600 };
      const none = `${base64url({ alg: 'none', kid: key.kid })}.${base64url(claims)}`;
      return {
        nothing: '',
        'another scheme': `Basic ${Buffer.from(`admin:${ADMIN_TOKEN}`).toString('base64')}`,
        'the administration token': `Bearer ${ADMIN_TOKEN}`,
        'another issuer': await token(subject, { iss: 'https://elsewhere.example' }),
        'another audience': await token(subject, { aud: 'another' }),
        expired: await token(subject, { exp: nowS() - 60 }),
        'not yet valid': await token(subject, { nbf: nowS() + 600 }),
        'no subject': await token(subject, { sub: undefined }),
        unsigned: `Bearer ${none}.`,
        [UNKNOWN_KEY]: await bearer(issuer, stranger, { sub: subject }),
        "another key under the issuer's name": await bearer(issuer, { ...stranger, kid: key.kid }, { sub: subject }),
      };
    };

    /** While the issuer may not be asked again, an unknown key may be a new one: 503 for the same request that else gets 401. */
    const withoutBusyIssuer = (why: string, found: object) => {
      const statuses = Object.keys(found);
      if (why !== UNKNOWN_KEY || !statuses.includes('503')) return statuses;
      return [...new Set(['401', ...statuses])].filter((it) => it !== '503').sort();
    };

    it('every delivery without a valid token is refused with 401', async () => {
      for (const [why, authorization] of Object.entries(await forgeries(BROKER))) {
        const found = await statusesOf(ports.mesh, [...deliveries(types()), { method: 'POST', path: '/mesh/flush' }], {
          ...(authorization && { authorization }),
        });
        expect({ why, statuses: withoutBusyIssuer(why, found) }).toEqual({ why, statuses: ['401'] });
      }
      await expectNothingChanged();
    });

    it('every delivery with the token of another subject is refused with 403', async () => {
      const attacks = deliveries();
      for (const subject of [RIDES, `${BROKER}2`, BROKER.toUpperCase(), `loyalty=${LOYALTY_TRIGGER}`]) {
        expectStatuses(await statusesOf(ports.mesh, attacks, { authorization: await token(subject) }), 403);
      }
      const elsewhere = attacks.filter(({ path }) => path !== '/mesh/loyalty');
      expectStatuses(await statusesOf(ports.mesh, elsewhere, { authorization: await token(LOYALTY_TRIGGER) }), 403);
      await expectNothingChanged();
    });

    it('every query without a valid token of a known subject is refused', async () => {
      for (const [why, authorization] of Object.entries(await forgeries(RIDES))) {
        const found = await statusesOf(ports.mesh, spelled(everyQuery()), { ...(authorization && { authorization }) });
        // 404: a spelling that is another path.
        expect({ why, statuses: withoutBusyIssuer(why, found) }).toEqual({ why, statuses: ['401', '404'] });
      }
      const authorization = await token(BROKER);
      expectStatuses(await statusesOf(ports.mesh, everyQuery(), { authorization }), 403);
    });

    it('administration without its token is refused, and the answer names the scheme', async () => {
      const routes = meshRoutes().filter((it) => !it.path.startsWith('/mesh/queries/') && !isOfPage(it));
      const tokens = ['', await token(BROKER), await token(RIDES), `Bearer ${ADMIN_TOKEN}2`, 'Bearer a', ADMIN_TOKEN];
      for (const authorization of tokens) {
        for (const route of routes) {
          const answer = await send(
            ports.mesh,
            { ...route, ...(authorization && { headers: { authorization } }) },
            agent,
          );
          expect({ ...route, status: answer.status }).toEqual({ ...route, status: 401 });
          expect(answer.headers['www-authenticate']).toBe('Bearer');
        }
      }
      await expectNothingChanged();
    });

    it('REST is not served, but /health is on both ports', async () => {
      const routes = routesOf(cabs.app).filter(({ path }) => !/^\/(mesh|health)\//.test(path));
      expect(routes.length).toBeGreaterThan(10);
      expectStatuses(await statusesOf(ports.mesh, spelled(routes)), 404);
      for (const port of Object.values(ports)) {
        for (const path of ['/health/live', '/health/ready']) {
          expect((await send(port, { method: 'GET', path }, agent)).status).toBe(200);
        }
      }
      await expectNothingChanged();
    });

    it('every message with a valid token from a source that its contract does not name is refused with 422', async () => {
      const forged = events().filter(({ type, source }) => !isPermitted(type, source));
      expect(forged.length).toBeGreaterThan(50);
      const handled = forged.filter(({ type }) => cabs.app.get(HandlerRegistry).subscriptions(type).length > 0);
      const authorization = await token(BROKER);
      const attacks = handled.flatMap((event) => deliveriesOf(event, '/'));
      expectStatuses(await statusesOf(ports.mesh, attacks, { authorization }), 422);
      await expectNothingChanged();
    });

    it('every message with a valid token is taken', async () => {
      const authorization = await token(BROKER);
      const deliver = (event: CloudEvent): Promise<Answer> => {
        const [attack] = deliveriesOf(event, '/');
        return send(ports.mesh, { ...attack!, headers: { ...attack!.headers, authorization } }, agent);
      };
      // 422: no module handles the type, or the contract refuses the event.
      for (const event of types()) expect([204, 422]).toContain((await deliver(event)).status);
      const fee: CloudEvent = {
        ...types().find(({ type }) => type === 'cabs.drivers.calculate-fee')!,
        source: 'usvc://cabs/rides',
        id: crypto.randomUUID(),
        subject: crypto.randomUUID(),
        data: { 'driver-id': DEMO_DRIVER, 'transit-price': 5100 },
      };
      expect((await deliver(fee)).status).toBe(204);
      await eventually(
        async () => broker.posted.filter(({ event }) => event.subject === fee.subject),
        ({ length }) => length === 1,
      );
      expect(await contentsOf(database)).not.toEqual(before);
    });

    it('a subject that is limited to one module may deliver there', async () => {
      const event = {
        ...types().find(({ type }) => type === 'cabs.loyalty.register-miles')!,
        source: 'usvc://cabs/rides',
      };
      const [attack] = deliveriesOf({ ...event, subject: crypto.randomUUID() }, '/mesh/loyalty');
      const headers = { ...attack!.headers, authorization: await token(LOYALTY_TRIGGER) };
      expect((await send(ports.mesh, { ...attack!, headers }, agent)).status).toBe(204);
    });

    it('a query is answered for the modules that its contract names, and for no other', async () => {
      for (const [module, subject] of Object.entries(CALLERS)) {
        const headers = { authorization: await token(subject) };
        for (const query of everyQuery()) {
          const { status } = await send(ports.mesh, { ...query, headers: { ...query.headers, ...headers } }, agent);
          const name = query.path.split('/').at(-1)!;
          expect({ module, name, status }).toEqual({ module, name, status: isPermitted(name, module) ? 200 : 403 });
        }
      }
    });

    it('administration works with its token', async () => {
      const isListing = ({ method, path }: { method: string; path: string }) =>
        method === 'GET' && !/dead-letters\/.|console\/stream/.test(path);
      const listing = meshRoutes().filter((it) => isListing(it) && !isOfPage(it));
      expectStatuses(await statusesOf(ports.mesh, listing, { authorization: `Bearer ${ADMIN_TOKEN}` }), 200);
    });
  });
});
