import { once } from 'node:events';
import { connect } from 'node:net';
import { HISTORIES } from '../../migrations/histories.js';
import { migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { DATABASES } from '../support/databases.js';
import { startServer, type ServerProcess } from '../support/server.js';

describe("The mesh's own port", () => {
  let server: ServerProcess;

  const started = async (environment: Record<string, string>) => {
    const database = await DATABASES[0]!.fresh();
    await migrateDatabase(database, [meshMigrations, ...HISTORIES]);
    server = await startServer({ DATABASE_URL: database, ...environment });
  };
  afterEach(() => server.end('SIGKILL'));

  const statusOf = async (url: string) => (await fetch(url)).status;

  it('is separate in production: the API page, without the mesh, is on the public port only', async () => {
    await started({
      NODE_ENV: 'production',
      AUTH: 'none',
      MESH_PORT: '0',
      MESH_ADMIN_TOKEN: 'open-sesame-open-sesame',
      API_PAGE: 'true',
    });
    expect(server.meshUrl).not.toBe(server.url);
    for (const path of ['/api', '/api-json', '/api/swagger-ui.css']) {
      expect([path, await statusOf(server.url + path)]).toEqual([path, 200]);
      expect([path, await statusOf(server.meshUrl + path)]).toEqual([path, 404]);
    }
    const { paths } = (await (await fetch(`${server.url}/api-json`)).json()) as { paths: Record<string, unknown> };
    const shown = Object.keys(paths);
    expect(shown).toEqual(expect.arrayContaining(['/transits', '/health/ready']));
    expect(shown.filter((path) => path.startsWith('/mesh'))).toEqual([]);
    const problem = await fetch(`${server.url}/mesh/outbox`, {
      headers: { authorization: 'Bearer open-sesame-open-sesame' },
    });
    expect(problem.headers.get('content-type')).toContain('application/problem+json');
    expect(await problem.json()).toMatchObject({ status: 404, detail: 'Cannot GET /mesh/outbox' });
    expect(await statusOf(`${server.meshUrl}/mesh/outbox`)).toBe(401);
  });

  it('is shared in development, and separate where MESH_PORT is set', async () => {
    await started({});
    expect(server.meshUrl).toBe(server.url);
    expect(await statusOf(`${server.url}/mesh/outbox`)).toBe(200);
    expect(await statusOf(`${server.url}/transits`)).toBe(200);
    await server.end('SIGTERM');
    await started({ MESH_PORT: '0' });
    expect(await statusOf(`${server.url}/mesh/outbox`)).toBe(404);
    expect(await statusOf(`${server.meshUrl}/mesh/outbox`)).toBe(200);
    expect(await statusOf(`${server.meshUrl}/transits`)).toBe(404);
  });

  it('closes kept connections at shutdown, and stops the process with code 0', async () => {
    await started({ MESH_PORT: '0', SHUTDOWN_GRACE: 'PT30S' });
    const socket = connect(Number(new URL(server.meshUrl).port), '127.0.0.1');
    socket.write('GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'data');
    const closed = once(socket, 'close');
    const began = performance.now();
    expect(await server.end('SIGTERM')).toBe(0);
    await closed;
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  it('stops the start when it is taken', async () => {
    await started({ MESH_PORT: '0' });
    const taken = new URL(server.meshUrl).port;
    const second = startServer({ DATABASE_URL: await DATABASES[0]!.fresh(), MESH_PORT: taken });
    await expect(second).rejects.toThrow(/The application does not start[^]*EADDRINUSE/);
  });
});
