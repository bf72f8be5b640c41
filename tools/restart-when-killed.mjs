/*
 * Runs a Node program, and again when it was killed: the console can kill the process of `npm run start:dev`, to show that
 * nothing is lost. A program that ends by itself isn't started again.
 */
import { spawn } from 'node:child_process';

/** A process that was killed sooner than this is started again only then, in ms. */
const PAUSE_MS = 1000;
let child;

function start() {
  const startedAt = Date.now();
  child = spawn(process.execPath, process.argv.slice(2), { stdio: 'inherit' });
  child.on('exit', (code, signal) => {
    if (signal === 'SIGKILL') setTimeout(start, Math.max(0, startedAt + PAUSE_MS - Date.now()));
    else process.exit(code ?? 1);
  });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal));
start();
