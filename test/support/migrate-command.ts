import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';
import { ROOT } from '../../tools/source.js';

/* The migration command lines as processes of their own. */

export function migrateCommand(args: string[], location: string) {
  return run(['dist/src/migrate.js', ...args], { DATABASE_URL: location });
}

export function typeorm(owner: string, location: string, command: string, ...args: string[]) {
  const cli = ['node_modules/typeorm/cli.js', command, '-d', 'dist/src/data-source.js'];
  return run([...cli, ...args], { DATABASE_URL: location, MIGRATIONS_OWNER: owner });
}

async function run(args: string[], environment: Record<string, string>) {
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child = spawn(process.execPath, args, { cwd: ROOT, env: { ...inherited, ...environment } });
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stderr.on('data', (text) => (output += text));
  const [code] = (await once(child, 'close')) as [number];
  // TypeORM colours its output when CI is set.
  return { code, output: stripVTControlCharacters(output) };
}
