import { rmSync } from 'node:fs';

/** Runs after all tests: stops the PostgreSQL server that postgres.ts started, and removes the tests' temporary files. */
export default async function tearDown(): Promise<void> {
  const server = globalThis.ownPostgres;
  if (server?.exitCode === null) {
    const exited = new Promise((resolve) => server.once('exit', resolve));
    // PostgreSQL's fast shutdown.
    server.kill('SIGINT');
    await exited;
  }
  rmSync(process.env.TMPDIR!, { recursive: true, force: true, maxRetries: 3 });
}
