/*
 * node --import ./workshop/runner/typescript.mjs main.ts
 *
 * Runs TypeScript as Nest needs it, without a build between saving and trying: swc keeps the types of constructor
 * parameters, by which Nest injects, where esbuild (tsx) drops them. How is said in .swcrc, as for the tests.
 */
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

// Node loads this file a second time, in the thread that resolves and loads modules.
if (isMainThread) register(import.meta.url);

/** What is on a desk is loaded anew with a query behind its name. */
const isTypeScript = (url) => /\.ts(\?|$)/.test(url ?? '');

/** `./fee.js` is in `fee.ts`. */
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
