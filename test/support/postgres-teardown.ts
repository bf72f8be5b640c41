/** Runs after all tests: stops the PostgreSQL server that postgres.ts started. SIGINT is PostgreSQL's fast shutdown. */
export default async function stopPostgres(): Promise<void> {
  const server = globalThis.ownPostgres;
  if (!server || server.exitCode !== null) return;
  const exited = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGINT');
  await exited;
}
