/*
 * Loaded by `node --import` into the processes that the fault rig starts, and into no others. It moves their clock,
 * makes consumers slow or lets them fail, and notes what they handle; the code under test knows nothing of it. What is
 * wrong comes with the start (FAULTS_STATE) and by message: `{ offsetMs, slow, fail, tape }`, where the last is the rig's
 * own chance.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { readdirSync } from 'node:fs';
import { Server } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

let state = JSON.parse(process.env.FAULTS_STATE ?? '{}');
let drawn = 0;
const draw = () => (state.tape?.length ? state.tape[drawn++ % state.tape.length] : 0.5);

process.on('message', (message) => (state = message));
// Listening here is no reason to stay alive; and nobody outlives the rig.
process.channel?.unref();
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));

// Who ends by itself from here on wasn't kept from starting.
const { listen } = Server.prototype;
Server.prototype.listen = function (...given) {
  return listen.apply(
    this.once('listening', () => process.send?.('listening')),
    given,
  );
};

const RealDate = Date;
const realNow = Date.now;
RealDate.now = () => realNow() + (state.offsetMs ?? 0);
// Timers and performance.now() go on evenly, as they do when somebody sets a clock.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, by) => Reflect.construct(target, given.length > 0 ? given : [RealDate.now()], by),
  apply: () => new Date().toString(),
});

/** The handlers of durable messages, by the names of their classes. */
export const disturbed = [];
/** What is being handled: `{ consumer, event, delivery }` of the application, and its unit of work. */
const arriving = new AsyncLocalStorage();

/**
 * Leaves a row for each handling, in the unit of work of the handler: what is rolled back was not handled. The table has
 * no key, so that twice is two rows.
 */
function note() {
  const { work, consumer, event, delivery } = arriving.getStore();
  return work.sql.run(
    `INSERT INTO faults_handled (consumer, event_id, type, subject, partition_key, cause, attempts)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [
      consumer,
      event.id,
      event.type,
      event.subject,
      event.partitionkey ?? event.subject,
      event.causationid ?? null,
      delivery?.attempts ?? null,
    ],
  );
}

function disturb({ name, prototype: handler }) {
  disturbed.push(name);
  const method = ['execute', 'handle'].find((it) => it in handler);
  const { prepare, [method]: own } = handler;
  handler.prepare = async function (message) {
    if (draw() < (state.slow ?? 0)) await wait(200 + 1800 * draw());
    if (draw() < (state.fail ?? 0) / 2) throw new Error('The fault rig lets this preparation fail');
    return prepare?.call(this, message);
  };
  handler[method] = async function (...given) {
    const result = await own.apply(this, given);
    await note();
    // After all that it has written: none of it may stay.
    if (draw() < (state.fail ?? 0) / 2) throw new Error('The fault rig lets this handler fail');
    return result;
  };
}

const application = process.env.FAULTS_APPLICATION;
if (application) {
  await import('reflect-metadata');
  const { handlesCommand, listensTo } = await import(`${application}/infrastructure/messaging/on-mesh.js`);
  const isDurable = (it) => typeof it === 'function' && (handlesCommand(it)?.kind || listensTo(it).length > 0);
  for (const file of readdirSync(new URL(`${application}/modules`), { recursive: true })) {
    if (!file.endsWith('.js')) continue;
    const exported = await import(`${application}/modules/${file}`);
    for (const it of Object.values(exported)) if (isDurable(it)) disturb(it);
  }
  const { UnitOfWork } = await import(`${application}/infrastructure/persistence/unit-of-work.js`);
  const { runTogether } = UnitOfWork.prototype;
  UnitOfWork.prototype.runTogether = function (opening, arrival, handle) {
    const place = { ...arrival, work: this };
    return runTogether.call(this, opening, arrival, (word) => arriving.run(place, handle, word));
  };
}
