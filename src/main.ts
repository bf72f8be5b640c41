/*
 * The entry point. It imports the application only after this: a signal that arrives while the application is loaded and
 * started ends the process with code 0. Messages that were in flight stay in the database.
 */
const exit = () => process.exit(0);
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
for (const signal of SIGNALS) process.on(signal, exit);

// First, also in the bundle, which loads files in another order than the source imports them.
await import('reflect-metadata');
const { start } = await import('./start.js');
await start();
for (const signal of SIGNALS) process.off(signal, exit);
