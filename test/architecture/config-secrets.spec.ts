import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../src/config-loader.js';
import { readConfig } from '../../src/config.js';
import { ROOT } from '../../tools/source.js';

const folder = mkdtempSync(join(tmpdir(), 'cabs-secrets-'));
let files = 0;

/** A new file with this text. @returns its path */
function file(text: string): string {
  const path = join(folder, `${++files}`);
  writeFileSync(path, text);
  return path;
}

/** The lines of the error. */
function problemsOf(variables: Record<string, string>): string[] {
  try {
    readConfig(variables, []);
  } catch (error) {
    return (error as Error).message.split('\n');
  }
  return [];
}

const URL = 'postgres://cabs:secret@db/cabs';
const invalid = (variable: string, message: string) => `Invalid environment variable ${variable}: ${message}.`;

describe('A secret in a file', () => {
  it.each(['', '\n', '\r\n', '\n\n'])('is the value of its variable, without %j at the end', (end) => {
    const variables = {
      DATABASE_URL_FILE: file(`${URL}${end}`),
      MESH_ADMIN_TOKEN_FILE: file(`sesame-sesame-sesame${end}`),
    };
    expect(readConfig(variables, [])).toEqual(
      readConfig({ DATABASE_URL: URL, MESH_ADMIN_TOKEN: 'sesame-sesame-sesame' }, []),
    );
  });

  it('may be given while the variable itself is empty, and the other way round', () => {
    expect(readConfig({ DATABASE_URL: '', DATABASE_URL_FILE: file(URL) }, []).databaseUrl).toBe(URL);
    expect(readConfig({ DATABASE_URL: URL, DATABASE_URL_FILE: '' }, []).databaseUrl).toBe(URL);
  });

  it('is refused together with the variable itself, in a line that names both', () => {
    for (const [variable, value] of [
      ['DATABASE_URL', URL],
      ['MESH_ADMIN_TOKEN', 'sesame-sesame-sesame'],
    ] as const) {
      expect(problemsOf({ [variable]: value, [`${variable}_FILE`]: file(value) })).toEqual([
        invalid(`${variable}_FILE`, `${variable} is set, too: set only one of the two`),
      ]);
    }
  });

  it('stops the start with one line when the file cannot be used, without path and contents', () => {
    mkdirSync(join(folder, 'secret'));
    const cases = [
      [join(folder, 'secret', 'none'), 'expected the path of a readable file (ENOENT)'],
      [join(folder, 'secret'), 'expected the path of a readable file (EISDIR)'],
      // The secret itself, by mistake.
      [URL, 'expected the path of a readable file (ENOENT)'],
      ['x'.repeat(10_000), 'expected the path of a readable file (ENAMETOOLONG)'],
      [file(''), 'the file is empty'],
      [file('\n'), 'the file is empty'],
    ] as const;
    for (const [path, message] of cases) {
      // Also in a cluster, where the default of DATABASE_URL would be refused.
      const variables = { DATABASE_URL_FILE: path, KUBERNETES_SERVICE_HOST: '10.0.0.1' };
      expect(problemsOf(variables)).toEqual([invalid('DATABASE_URL_FILE', message)]);
    }
  });

  it('is checked as the variable is, and never printed', () => {
    const problems = problemsOf({
      PORT: 'http',
      DATABASE_URL_FILE: file('mysql://cabs:secret@db/cabs'),
      MESH_ADMIN_TOKEN_FILE: file('secret'),
    });
    expect(problems).toEqual([
      expect.stringMatching(/^Invalid environment variable PORT: /),
      expect.stringMatching(/^Invalid environment variable DATABASE_URL_FILE: expected sqlite:[^\n]*\.$/),
      invalid('MESH_ADMIN_TOKEN_FILE', 'expected at least 16 ASCII characters'),
    ]);
    expect(problems.join()).not.toContain('secret');
  });

  it('is reported together with the other problems', () => {
    expect(problemsOf({ PORT: 'http', DATABASE_URL_FILE: file('') })).toEqual([
      expect.stringContaining('variable PORT: '),
      expect.stringContaining('variable DATABASE_URL_FILE: '),
    ]);
  });

  it('stays out of the environment of the process', async () => {
    const home = process.cwd();
    const before = process.env.DATABASE_URL;
    delete process.env.DATABASE_URL;
    process.chdir(mkdtempSync(join(tmpdir(), 'cabs-env-')));
    try {
      writeFileSync('.env', `DATABASE_URL_FILE=${file(URL)}\n`);
      expect((await loadConfig([])).config.databaseUrl).toBe(URL);
      expect(Object.values(process.env)).not.toContain(URL);
    } finally {
      process.chdir(home);
      delete process.env.DATABASE_URL_FILE;
      if (before !== undefined) process.env.DATABASE_URL = before;
    }
  });

  it("is honoured by the migrations, and by the data source of TypeORM's command line", async () => {
    const database = join(folder, 'cabs.db');
    const env = { PATH: process.env.PATH, DATABASE_URL_FILE: file(`sqlite:${database}\n`), MIGRATIONS_OWNER: 'rides' };
    const print = `import('./dist/src/data-source.js').then((it) => console.log(it.default.options.database))`;
    expect(await output(['-e', print], env)).toBe(`${database}\n`);
    expect(await output(['dist/src/migrate.js'], env)).toMatch(/^Applied:\n/);
    expect(await output(['dist/src/migrate.js', '--status'], env)).not.toContain('missing');
    const missing = { ...env, DATABASE_URL_FILE: join(folder, 'none') };
    expect(await output(['dist/src/migrate.js'], missing)).toBe(
      `${invalid('DATABASE_URL_FILE', 'expected the path of a readable file (ENOENT)')}\n`,
    );
  });
});

/** What a process prints. */
function output(args: string[], env: Record<string, string | undefined>): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: ROOT, env }, (_, stdout, stderr) => resolve(stdout + stderr));
  });
}
