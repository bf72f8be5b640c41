/*
 * node --import ./workshop/runner/typescript.mjs main.ts
 *
 * Runs TypeScript without a build. Nest injects by the types of constructor parameters: swc emits them as metadata,
 * esbuild (tsx) drops them. The options are those of the tests, in .swcrc.
 */
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

// Node loads this file twice: here, and in the thread of the module hooks.
if (isMainThread) register(import.meta.url);

/** A query after the name makes Node load a changed file again. */
const isTypeScript = (url) => /\.ts(\?|$)/.test(url ?? '');

/** Resolves `./fee.js` to `fee.ts`. */
export async function resolve(specifier, context, next) {
  const isOurs = specifier.startsWith('.') && specifier.endsWith('.js') && isTypeScript(context.parentURL);
  return next(isOurs ? specifier.replace(/\.js$/, '.ts') : specifier, context);
}

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !isTypeScript(url)) return next(url, context);
  const { transform } = await import('@swc/core');
  const filename = fileURLToPath(url);
  const { code } = await transform(await readFile(filename, 'utf8'), { filename });
  return { format: 'module', source: code, shortCircuit: true };
}
