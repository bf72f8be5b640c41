import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';

/**
 * Before all tests: finds a PostgreSQL server, or starts one of its own from a local installation, in a folder of its
 * own and for these tests only. Every suite that touches a database then runs on both.
 */
export default async function findPostgres(): Promise<void> {
  if (process.env.TEST_DATABASE_URL) {
    console.log('\nDatabases under test: SQLite, and the PostgreSQL of TEST_DATABASE_URL');
    return;
  }
  const binaries = postgresBinaries();
  if (!binaries) {
    console.log(
      '\nDatabases under test: SQLite. Left out: PostgreSQL, as there is neither TEST_DATABASE_URL nor a local installation',
    );
    return;
  }
  const started = await start(binaries);
  globalThis.ownPostgres = started.server;
  process.env.TEST_DATABASE_URL = started.url;
  console.log(`\nDatabases under test: SQLite, and PostgreSQL from ${binaries}`);
}

declare global {
  var ownPostgres: ChildProcess | undefined;
}

/** The folder of a local installation's programs: on the path, or where packages put them. */
export function postgresBinaries(): string | undefined {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const candidates = [
    ...(process.env.PATH ?? '').split(':'),
    ...versions.map((version) => join(debian, version, 'bin')),
    ...['/usr/local/pgsql/bin', '/opt/homebrew/bin', '/usr/pgsql/bin'],
  ];
  return candidates.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

/** Starts a server of its own in a folder of its own, at PostgreSQL's default durability. */
export async function start(binaries: string): Promise<{ server: ChildProcess; url: string; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-postgres-'));
  const user = unprivileged();
  if (user) chownSync(folder, user.uid, user.gid);
  const data = join(folder, 'data');
  const options = { ...user, cwd: folder };
  execFileSync(
    join(binaries, 'initdb'),
    ['-D', data, '-U', 'cabs', '-A', 'trust', '-E', 'UTF8', '--locale=C'],
    options,
  );
  const port = await freePort();
  const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${folder}`, 'max_connections=300'];
  const server = spawn(
    join(binaries, 'postgres'),
    ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    { ...options, stdio: 'ignore' },
  );
  const url = `postgres://cabs@127.0.0.1:${port}/postgres`;
  for (let tries = 0; ; tries++) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return { server, url, folder };
    } catch (error) {
      if (tries > 100 || server.exitCode !== null) throw error;
      await wait(100);
    }
  }
}

/** PostgreSQL refuses to run as root; then it runs as its own user, or as nobody. */
export function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, name: string) =>
    Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }));
  for (const name of ['postgres', 'nobody']) {
    try {
      return { uid: id('-u', name), gid: id('-g', name) };
    } catch {
      // the next one
    }
  }
  return undefined;
}

/** As tools/ports.ts has it; jest loads this file in a way in which none of ours can be imported. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
