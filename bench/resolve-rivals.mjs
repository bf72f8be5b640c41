/*
 * node --import ./bench/resolve-rivals.mjs main.ts
 *
 * Finds the packages of bench/contenders/versions.ts in the folder of the environment variable RIVALS.
 */
import { register } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';

// Node loads this file twice: here, and in the thread of the module hooks.
if (isMainThread) register(import.meta.url);

const RIVALS = new Set(['pg-boss', 'graphile-worker', 'plainjob', 'better-sqlite3-13']);
const parentURL = pathToFileURL(join(process.env.RIVALS, 'package.json')).href;

export async function resolve(specifier, context, next) {
  return next(specifier, RIVALS.has(specifier) ? { ...context, parentURL } : context);
}
