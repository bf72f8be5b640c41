import module from 'node:module';
import { fileURLToPath } from 'node:url';

/*
 * The entry point. It imports the application only after this: a signal that arrives while the application is loaded and
 * started ends the process with code 0. Messages that were in flight stay in the database.
 */
const exit = () => process.exit(0);
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
for (const signal of SIGNALS) process.on(signal, exit);

/*
 * Node 22 and later store compiled code when the process ends, so that the next start needn't compile it. Node's own choice of
 * a folder is below /tmp, where other users could store code for this process to run. Node stores nothing where the folder
 * can't be written, as in the image. NODE_COMPILE_CACHE names another folder.
 */
const { enableCompileCache } = module as { enableCompileCache?: (folder: string) => unknown };
enableCompileCache?.(fileURLToPath(new URL('../compile-cache', import.meta.url)));

// First, also in the bundle, which loads files in another order than the source imports them.
await import('reflect-metadata');
const { start } = await import('./start.js');
await start();
for (const signal of SIGNALS) process.off(signal, exit);
