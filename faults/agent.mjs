/*
 * Loaded by `node --import` into the processes that the fault rig starts, and into no others. It moves their clock, and
 * makes consumers slow or lets them fail; the code under test knows nothing of it. What is wrong comes with the start
 * (FAULTS_STATE) and by message: `{ offsetMs, slow, fail, tape }`, where the last is the rig's own chance.
 */
import { setTimeout as wait } from 'node:timers/promises';

let state = JSON.parse(process.env.FAULTS_STATE ?? '{}');
let drawn = 0;
const draw = () => (state.tape?.length ? state.tape[drawn++ % state.tape.length] : 0.5);

process.on('message', (message) => (state = message));
// Listening here is no reason to stay alive; and nobody outlives the rig.
process.channel?.unref();
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));

const RealDate = Date;
const realNow = Date.now;
RealDate.now = () => realNow() + (state.offsetMs ?? 0);
// Timers and performance.now() go on evenly, as they do when somebody sets a clock.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, by) => Reflect.construct(target, given.length > 0 ? given : [RealDate.now()], by),
  apply: () => new Date().toString(),
});

/** Where the handlers of durable messages are, in dist/modules. */
const HANDLERS = [
  ...['drivers/calculate-fee', 'drivers/driver-free', 'drivers/driver-occupy', 'geolocation/update-destination'],
  ...['invoicing/issue-invoice', 'loyalty/register-miles', 'rides/complete-transit', 'rides/settle-transit'],
];

function disturb(handler) {
  const method = ['execute', 'handle'].find((it) => it in handler);
  if (!method) return;
  const { prepare, [method]: own } = handler;
  handler.prepare = async function (message) {
    if (draw() < (state.slow ?? 0)) await wait(200 + 1800 * draw());
    if (draw() < (state.fail ?? 0) / 2) throw new Error('The fault rig lets this preparation fail');
    return prepare?.call(this, message);
  };
  handler[method] = async function (...given) {
    const result = await own.apply(this, given);
    // After all that it has written: none of it may stay.
    if (draw() < (state.fail ?? 0) / 2) throw new Error('The fault rig lets this handler fail');
    return result;
  };
}

if (process.env.FAULTS_MODULES) {
  await import('reflect-metadata');
  for (const file of HANDLERS) {
    const exported = await import(`${process.env.FAULTS_MODULES}/${file}.js`);
    for (const it of Object.values(exported)) if (typeof it === 'function' && it.prototype) disturb(it.prototype);
  }
}
