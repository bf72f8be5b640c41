/*
 * Loaded by `node --import` into the processes that the lab starts, and into no others. It makes accounting slow or
 * unavailable, drops remote calls, and counts them. The code of the steps stays as it is.
 */
import { Server } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';

/** The current faults: `{ accounting: { slowMs } | { isDown: true }, failing: probability }`. */
let faults = {};
let calls = 0;

process.on('message', (message) => {
  if (message?.faults) faults = message.faults;
  if (message?.howManyCalls) process.send({ calls });
});
// An open IPC channel would keep the process running.
process.channel?.unref();

async function accounting() {
  const { slowMs, isDown } = faults.accounting ?? {};
  if (slowMs) await wait(slowMs);
  if (isDown) throw new Error('Accounting is out of order');
}

// shared/accounting.ts looks it up by this name.
globalThis[Symbol.for('workshop.accounting')] = accounting;

if (process.env.WORKSHOP_APPLICATION) {
  // The application of src/ has no accounting. `prepare` runs before the unit of work, which is where it would call it.
  await import('reflect-metadata');
  const { IssueInvoiceHandler } = await import(process.env.WORKSHOP_APPLICATION);
  IssueInvoiceHandler.prototype.prepare = accounting;
}

if (process.env.WORKSHOP_REMOTE) {
  const remote = new RegExp(process.env.WORKSHOP_REMOTE);
  const { emit } = Server.prototype;
  Server.prototype.emit = function (event, ...rest) {
    const [incoming, response] = rest;
    if (event !== 'request' || !remote.test(incoming.url)) return emit.call(this, event, ...rest);
    calls++;
    if (Math.random() >= (faults.failing ?? 0)) return emit.call(this, event, ...rest);
    // Half of the failures drop the request, half drop the answer: the caller can't tell which.
    const drop = () => incoming.socket.destroy();
    if (Math.random() < 0.5) return drop();
    response.end = drop;
    return emit.call(this, event, ...rest);
  };
}
