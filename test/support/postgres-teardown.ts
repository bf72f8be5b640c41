/** After all tests: ends the server that they started. SIGINT is PostgreSQL's fast shutdown. */
export default async function stopPostgres(): Promise<void> {
  const server = globalThis.ownPostgres;
  if (!server || server.exitCode !== null) return;
  const gone = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGINT');
  await gone;
}
