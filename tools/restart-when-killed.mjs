/*
 * Runs a Node program, and again when it was killed: the console can kill the process of `npm run start:dev`, to show that
 * nothing is lost. A program that ends by itself isn't started again.
 */
import { spawn } from 'node:child_process';

let child;

function start() {
  child = spawn(process.execPath, process.argv.slice(2), { stdio: 'inherit' });
  child.on('exit', (code, signal) => {
    if (signal === 'SIGKILL') start();
    else process.exit(code ?? 1);
  });
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
start();
