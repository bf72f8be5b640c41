import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ROOT } from '../../tools/source.js';

/* The package as a host sees it: installed from its folder beside the packages of this project. */

const NAME = 'nestjs-meshy';
const ENTRIES = ['', '/http', '/cloudevents', '/testing', '/knative', '/console'];

describe('The package', () => {
  let host: string;

  beforeAll(() => {
    execFileSync('npx', ['tsx', 'package/build.ts', '--no-pack'], { cwd: ROOT, stdio: 'inherit' });
    host = mkdtempSync(join(tmpdir(), 'meshy-host-'));
    mkdirSync(join(host, 'node_modules'));
    const packages = [
      '@nestjs',
      '@types',
      'better-sqlite3',
      'cloudevents',
      'express',
      'pg',
      'reflect-metadata',
      'rxjs',
    ];
    for (const name of [...packages, 'typeorm', 'undici', 'uuid', 'yaml', 'zod'])
      symlinkSync(join(ROOT, 'node_modules', name), join(host, 'node_modules', name));
    symlinkSync(join(ROOT, 'dist-package'), join(host, 'node_modules', NAME));
  });
  afterAll(() => rmSync(host, { recursive: true, force: true }));

  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(host, path)), { recursive: true });
    writeFileSync(join(host, path), text);
    return path;
  };
  const run = (program: string, ...args: string[]) => {
    try {
      return execFileSync(program, args, { cwd: host, encoding: 'utf8', stdio: 'pipe' });
    } catch (error) {
      throw new Error((error as { stdout: string }).stdout + (error as { stderr: string }).stderr, { cause: error });
    }
  };

  it('knows nothing of cabs, and names its dependencies', () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(
      readFileSync(join(ROOT, 'dist-package/package.json'), 'utf8'),
    ) as Record<string, Record<string, unknown>>;
    const declared = Object.keys({ ...dependencies, ...peerDependencies });
    expect(Object.keys(peerDependenciesMeta!)).toEqual(expect.arrayContaining(['pg', 'better-sqlite3', 'jose']));
    for (const file of [
      'esm/index.js',
      'cjs/index.js',
      'esm/http.js',
      'cjs/http.js',
      'cjs/cloudevents.js',
      'cjs/testing.js',
      'esm/knative.js',
      'cjs/knative.js',
      'esm/console.js',
      'cjs/console.js',
      'esm/meshy.js',
    ]) {
      const code = readFileSync(join(ROOT, 'dist-package', file), 'utf8');
      expect(code).not.toMatch(/\b(cabs|transit|driver_fee|invoic)/i);
      const imported = [...code.matchAll(/(?:from |require\()'([^'.][^']*)'/g)].map(([, id]) => id!);
      const packages = imported.filter((id) => !isBuiltin(id)).map((id) => /^(@[^/]+\/)?[^/]+/.exec(id)![0]);
      expect(declared).toEqual(expect.arrayContaining(packages));
    }
  });

  it.each(ENTRIES)('loads by import and by require: %j', (entry) => {
    const keys = 'console.log(Object.keys(it).sort().join())';
    const imported = run('node', '--input-type=module', '-e', `import * as it from '${NAME}${entry}'; ${keys}`);
    const required = run('node', '--no-warnings', '-e', `const it = require('${NAME}${entry}'); ${keys}`);
    expect(required).toBe(imported);
    expect(required.trim()).not.toBe('');
  });

  it('has the files of the console, which a host finds by import and by require', () => {
    const check = `const { folder } = it.meshConsole(); console.log(require('node:fs').readdirSync(folder).sort().join())`;
    const required = run('node', '-e', `const it = require('${NAME}/console'); ${check}`);
    const load = `import { createRequire } from 'node:module'; const require = createRequire(process.cwd() + '/x.js');`;
    const imported = run(
      'node',
      '--input-type=module',
      '-e',
      `${load} import * as it from '${NAME}/console'; ${check}`,
    );
    expect([required.trim(), imported.trim()]).toEqual(Array(2).fill('app.css,app.js,icon.svg,index.html'));
  });

  describe.each<[string, object]>([
    ['node16, as nest new 11 and 12 have it', { module: 'nodenext', moduleResolution: 'nodenext', target: 'es2023' }],
    ['node', { module: 'commonjs', moduleResolution: 'node10', target: 'es2021', ignoreDeprecations: '6.0' }],
    ['bundler', { module: 'esnext', moduleResolution: 'bundler', target: 'es2022' }],
  ])('compiles in a host with moduleResolution %s', (_, options) => {
    it.each([true, false])('declaration: true, strict: %s', (strict) => {
      const readme = readFileSync(join(ROOT, 'package/README.md'), 'utf8');
      for (const [, file, code] of readme.matchAll(/```ts\n\/\/ (\S+)\n([^]*?)```/g)) write(`src/${file}`, code!);
      write('src/yours.ts', YOURS);
      write('src/more.ts', MORE);
      write(
        'src/http.ts',
        `import { Conflict, SchemaPipe } from '${NAME}/http';\nexport const all = [Conflict, SchemaPipe];\n`,
      );
      const shared = {
        declaration: true,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
        skipLibCheck: true,
      };
      const compilerOptions = { ...shared, ...options, strict, outDir: 'dist', rootDir: 'src', types: ['node'] };
      write('tsconfig.json', JSON.stringify({ compilerOptions, include: ['src'] }));
      run(join(ROOT, 'node_modules/.bin/tsc'), '-p', 'tsconfig.json');
      expect(readFileSync(join(host, 'dist/orders.d.ts'), 'utf8')).toMatch(
        /class OrderPlaced extends OrderPlaced_base/,
      );
    });
  });
});

/** What the README takes for granted in a host. */
const YOURS = `
import { Injectable } from '@nestjs/common';
import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

@Entity()
export class Order {
  @PrimaryGeneratedColumn() id!: number;
  @Column('text') email!: string;
}

@Injectable()
export class Mailer {
  async send(to: string, text: string, id: string): Promise<void> {
    console.log(to, text, id);
  }
}
`;

const MORE = `
import { durableCommand, query } from '${NAME}';
import { temporaryDatabase, TestMesh } from '${NAME}/testing';
import { z } from 'zod';
import { OrderPlaced } from './orders.js';

export class SendMail extends durableCommand('host.send-mail', z.object({ to: z.string() }), { sentBy: ['orders'] }) {}
export class ReadOrder extends query('read-order', z.object({ id: z.int() }), z.object({ item: z.string() }).nullable()) {}
export const typed: string = new OrderPlaced('1', { email: 'a' }).data.email;
export const used = [TestMesh, temporaryDatabase];
`;
