/*
 * node --import ./bench/resolve-rivals.mjs main.ts
 *
 * Finds the packages of bench/contenders/versions.ts in the folder of the environment variable RIVALS.
 */
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const RIVALS = new Set(['pg-boss', 'graphile-worker', 'plainjob', 'better-sqlite3-13']);
const parentURL = pathToFileURL(join(process.env.RIVALS, 'package.json')).href;

registerHooks({
  resolve: (specifier, context, next) => next(specifier, RIVALS.has(specifier) ? { ...context, parentURL } : context),
});
