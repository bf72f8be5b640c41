/*
 * Jest's globalSetup. Jest would compile a TypeScript file to CommonJS without its moduleNameMapper, and an import of
 * './x.js' would not find x.ts; so this file is JavaScript, and tsx loads the rest.
 */
import { tsImport } from 'tsx/esm/api';

export default async function setUp() {
  const { default: findPostgres } = await tsImport('./postgres.ts', import.meta.url);
  await findPostgres();
}
