import { execFileSync } from 'node:child_process';
import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommandBus } from '@nestjs/cqrs';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { connect } from '../support/notes.js';
import { plant, Work } from '../support/planted.js';
import { postgresBinaries, startServer, unprivileged } from '../../tools/postgres-server.js';

const binaries = postgresBinaries();

(binaries ? describe : describe.skip)('With a PostgreSQL that requires a password and a client certificate', () => {
  let server: Awaited<ReturnType<typeof startServer>>;
  let key: string;
  let cert: string;

  beforeAll(async () => {
    server = await startServer(binaries!);
    const file = (name: string) => join(server.folder, 'data', name);
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=cabs'];
    execFileSync('openssl', [...request, '-keyout', file('cabs.key'), '-out', file('cabs.crt')], { stdio: 'pipe' });
    [key, cert] = [readFileSync(file('cabs.key'), 'utf8'), readFileSync(file('cabs.crt'), 'utf8')];
    const user = unprivileged();
    if (user) for (const name of ['cabs.key', 'cabs.crt']) chownSync(file(name), user.uid, user.gid);
    const connection = await connect(server.url);
    await connection.run(`ALTER USER cabs PASSWORD 'secret'`);
    // The same certificate serves as authority, server and client certificate.
    const files = { ssl_cert_file: 'cabs.crt', ssl_key_file: 'cabs.key', ssl_ca_file: 'cabs.crt' };
    for (const [name, value] of Object.entries({ ...files, ssl: 'on' })) {
      await connection.run(`ALTER SYSTEM SET ${name} = '${value}'`);
    }
    writeFileSync(file('pg_hba.conf'), 'hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n');
    await connection.run('SELECT pg_reload_conf()');
    await connection.close();
    await eventually(
      () =>
        connect(server.url)
          .then((it) => it.close().then(() => 'accepted'))
          .catch(() => 'refused'),
      (it) => it === 'refused',
    );
  }, 60_000);
  afterAll(() => server.server.kill('SIGINT'));

  it('messages are delivered and a lock is held, each over its own connection', async () => {
    const options = {
      type: 'postgres' as const,
      host: '127.0.0.1',
      port: Number(new URL(server.url).port),
      database: 'postgres',
      username: 'cabs',
      password: 'secret',
      ssl: { key, cert, rejectUnauthorized: false },
    };
    const handled: number[] = [];
    const { app } = await plant({ database: options }, { work: async ({ data: { n } }) => void handled.push(n) });
    await app.get(UnitOfWork).run(() => app.get(CommandBus).execute(new Work(crypto.randomUUID(), { n: 1 })));
    await eventually(
      async () => handled,
      ({ length }) => length === 1,
    );
    const lock = app.get(Database).lock('some lock');
    expect(await lock.acquire()).toBe(true);
    await lock.release();
    await app.close();
  }, 60_000);
});
