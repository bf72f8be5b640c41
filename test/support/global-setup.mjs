/*
 * Jest's globalSetup. Jest would compile a TypeScript file to CommonJS without its moduleNameMapper, and an import of
 * './x.js' would not find x.ts; so this file is JavaScript, and tsx loads the rest.
 */
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tsImport } from 'tsx/esm/api';

export default async function setUp() {
  // The tests' temporary files are in one folder, which goes when they are over.
  process.env.TMPDIR = mkdtempSync(join(tmpdir(), 'cabs-tests-'));
  // PostgreSQL may run as another user.
  chmodSync(process.env.TMPDIR, 0o755);
  const { default: findPostgres } = await tsImport('./postgres.ts', import.meta.url);
  await findPostgres();
}
