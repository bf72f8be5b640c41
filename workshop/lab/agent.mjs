/*
 * Loaded by `node --import` into the processes that the lab starts, and into no others. It makes accounting slow or takes
 * it away, loses remote calls, and counts them. What is measured is the code of the steps; only their surroundings are bad.
 */
import { Server } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';

/** What is wrong now: `{ accounting: { slowMs } | { isDown: true }, failing: probability }`. */
let faults = {};
let calls = 0;

process.on('message', (message) => {
  if (message?.faults) faults = message.faults;
  if (message?.howManyCalls) process.send({ calls });
});
// Listening here is no reason to stay alive.
process.channel?.unref();

async function accounting() {
  const { slowMs, isDown } = faults.accounting ?? {};
  if (slowMs) await wait(slowMs);
  if (isDown) throw new Error('Accounting is out of order');
}

// The steps ask for it by this name (shared/accounting.ts).
globalThis[Symbol.for('workshop.accounting')] = accounting;

if (process.env.WORKSHOP_APPLICATION) {
  // The application of src/ knows no accounting; there it is asked where such things belong, before the unit of work.
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
    // Half of them are lost on the way there, and half of the answers on the way back: the caller can't tell.
    const lose = () => incoming.socket.destroy();
    if (Math.random() < 0.5) return lose();
    response.end = lose;
    return emit.call(this, event, ...rest);
  };
}
