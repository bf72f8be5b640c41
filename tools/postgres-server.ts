import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { freePort } from './ports.js';

/** The folder of a local PostgreSQL's programs: on PATH, or where Linux and macOS packages install them. */
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

/** Starts a server in a new temporary folder, at PostgreSQL's default durability. @throws Error when it can't start */
export async function startServer(binaries: string): Promise<{ server: ChildProcess; url: string; folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-postgres-'));
  const user = unprivileged();
  if (user) chownSync(folder, user.uid, user.gid);
  const args = ['-D', join(folder, 'data'), '-U', 'cabs', '-A', 'trust', '-E', 'UTF8', '--locale=C'];
  execFileSync(join(binaries, 'initdb'), args, { ...user, cwd: folder });
  const port = await freePort();
  const url = `postgres://cabs@127.0.0.1:${port}/postgres`;
  return { server: await launchServer(binaries, folder, url), url, folder };
}

/** Starts the server of a folder, again or for the first time. @throws Error when it doesn't answer within 10 s */
export async function launchServer(binaries: string, folder: string, url: string): Promise<ChildProcess> {
  const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${folder}`, 'max_connections=300'];
  const server = spawn(
    join(binaries, 'postgres'),
    ['-D', join(folder, 'data'), '-p', new URL(url).port, ...settings.flatMap((setting) => ['-c', setting])],
    { ...unprivileged(), cwd: folder, stdio: 'ignore' },
  );
  for (let tries = 0; ; tries++) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return server;
    } catch (error) {
      if (tries > 100 || server.exitCode !== null) throw error;
      await wait(100);
    }
  }
}

/** PostgreSQL refuses to run as root. @returns the user to run it as instead: postgres, or nobody */
export function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, name: string) =>
    Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }));
  for (const name of ['postgres', 'nobody']) {
    try {
      return { uid: id('-u', name), gid: id('-g', name) };
    } catch {
      // There is no such user.
    }
  }
  return undefined;
}
