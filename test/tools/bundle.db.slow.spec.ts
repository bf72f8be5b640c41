import { DEMO_RIDE } from '../../src/demo.js';
import { BUNDLED_MAIN, bundleIfMissing } from '../../tools/bundle.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { FakeBroker } from '../support/fake-broker.js';
import { AUDIENCE, bearer, newKey, startIssuer } from '../support/issuer.js';
import { migrateCommand } from '../support/migrate-command.js';
import { call, prepareRides, REACHED, startServer } from '../support/server.js';

/** The answers of routes that load packages on demand, or that list what the application consists of. */
const ROUTES = ['/api-json', '/api/swagger-ui.css', '/asyncapi.json', '/mesh/console/topology'];

async function answersOf(url: string) {
  return Promise.all(
    ROUTES.map(async (route) => {
      const response = await fetch(`${url}${route}`);
      return [route, response.status, await response.text()];
    }),
  );
}

describe.each(DATABASES)('The bundled application on $kind', ({ fresh }) => {
  beforeAll(bundleIfMissing);

  it('settles a ride, and stores its migrations under the same names as the application that is not bundled', async () => {
    const database = await fresh();
    const server = await startServer({ DATABASE_URL: database }, BUNDLED_MAIN);
    try {
      const [ride] = await prepareRides(server.url, 1);
      await call('POST', `${server.url}/transits/${ride}/complete`, REACHED);
      const invoices = () => call<unknown[]>('GET', `${server.url}/invoices?transitId=${ride}`);
      await eventually(invoices, ({ body }) => body.length === 1);
    } finally {
      expect(await server.end('SIGTERM')).toBe(0);
    }
    expect(await migrateCommand(['--status'], database)).toMatchObject({ code: 0 });
  });

  it('has the same documents as the application that is not bundled', async () => {
    const servers = [await startServer({ DATABASE_URL: await fresh() }, BUNDLED_MAIN)];
    try {
      servers.push(await startServer({ DATABASE_URL: await fresh() }));
      const [bundled, compiled] = await Promise.all(servers.map(({ url }) => answersOf(url)));
      expect(compiled!.map(([route, status]) => [route, status])).toEqual(ROUTES.map((it) => [it, 200]));
      expect(bundled).toEqual(compiled);
    } finally {
      await Promise.all(servers.map((it) => it.end('SIGTERM')));
    }
  });

  it('publishes to a broker and checks tokens, which takes packages that are loaded on demand', async () => {
    const broker = new FakeBroker();
    await broker.open();
    const key = await newKey('ES256');
    const issuer = await startIssuer(key);
    const environment = {
      DATABASE_URL: await fresh(),
      SEED: 'demo',
      MESH_TRANSPORT: 'knative',
      K_SINK: broker.url,
      AUTH_ISSUER: issuer.url,
      AUTH_AUDIENCE: AUDIENCE,
    };
    const server = await startServer(environment, BUNDLED_MAIN);
    try {
      const complete = (headers: Record<string, string>) =>
        call('POST', `${server.url}/transits/${DEMO_RIDE}/complete`, REACHED, headers);
      await expect(complete({})).rejects.toThrow('401');
      await complete({ authorization: await bearer(issuer, key) });
      await eventually(
        async () => broker.posted.length,
        (count) => count > 0,
      );
    } finally {
      await server.end('SIGTERM');
      await issuer.close();
      await broker.close();
    }
  });
});
