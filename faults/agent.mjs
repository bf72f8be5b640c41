/*
 * The fault rig loads this file by `node --import` into the processes that it starts. It shifts their clock, slows down
 * consumers or lets them fail, and records each handling; the code under test is unchanged. The state comes at the start
 * (FAULTS_STATE) and by messages: `{ offsetMs, slow, fail, randoms }`, where `randoms` are the random numbers to use.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { readdirSync } from 'node:fs';
import { Server } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

let state = JSON.parse(process.env.FAULTS_STATE ?? '{}');
let used = 0;
const random = () => (state.randoms?.length ? state.randoms[used++ % state.randoms.length] : 0.5);

process.on('message', (message) => (state = message));
// The channel must not keep the process alive, and the process must not outlive the rig.
process.channel?.unref();
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));

// Tells the rig that the process has started: from here on a fault is no excuse for an exit.
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
// Timers and performance.now() stay as they are, as when an operator sets the system clock.
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, by) => Reflect.construct(target, given.length > 0 ? given : [RealDate.now()], by),
  apply: () => new Date().toString(),
});

/** Class names of the handlers of durable messages. */
export const disturbed = [];
/** The messages that are being handled, `{ consumer, event, delivery, message }`, and their unit of work. One alone has no `message`. */
const current = new AsyncLocalStorage();

/**
 * Inserts a row for each handling in the unit of work of the handler, so that a rollback removes it. The message is no
 * key of the table: two handlings are two rows.
 */
function recordHandling(work, { consumer, event, delivery }) {
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
  const { prepare } = handler;
  handler.prepare = async function (message) {
    if (random() < (state.slow ?? 0)) await wait(200 + 1800 * random());
    if (random() < (state.fail ?? 0) / 2) throw new Error('Injected fault: this preparation fails');
    return prepare?.call(this, message);
  };
  for (const method of ['execute', 'handle', 'executeMany', 'handleMany'].filter((it) => it in handler)) {
    const original = handler[method];
    handler[method] = async function (first, ...rest) {
      const result = await original.call(this, first, ...rest);
      const { work, received } = current.getStore();
      const messages = method.endsWith('Many') ? first : [first];
      for (const it of received)
        if (received.length === 1 || messages.includes(it.message)) await recordHandling(work, it);
      // After all statements of the handler, so that the rollback has to undo all of them.
      if (random() < (state.fail ?? 0) / 2) throw new Error('Injected fault: this handler fails');
      return result;
    };
  }
}

const application = process.env.FAULTS_APPLICATION;
if (application) {
  await import('reflect-metadata');
  const { commandOf, eventsOf } = await import(`${application}/infrastructure/contracts/mesh-feature.js`);
  const isDurable = (it) => typeof it === 'function' && (commandOf(it)?.kind || eventsOf(it).length > 0);
  for (const file of readdirSync(new URL(`${application}/modules`), { recursive: true })) {
    if (!file.endsWith('.js')) continue;
    const exported = await import(`${application}/modules/${file}`);
    for (const it of Object.values(exported)) if (isDurable(it)) disturb(it);
  }
  const { UnitOfWork } = await import(`${application}/infrastructure/persistence/unit-of-work.js`);
  const { runInBatch } = UnitOfWork.prototype;
  /** Equal where the application's own are: they may run together. */
  const jointHandlings = new WeakMap();
  const jointHandlingOf = (work, joint) => {
    const run = (received, results) => current.run({ work, received }, () => joint.run(received, results));
    if (!jointHandlings.has(joint)) jointHandlings.set(joint, { run });
    return jointHandlings.get(joint);
  };
  UnitOfWork.prototype.runInBatch = function (prelude, received, handle, joint) {
    // Each run of a unit has a message of its own.
    const watched = { ...received, nextMessage: () => (watched.message = received.nextMessage()) };
    const one = (result) => current.run({ work: this, received: [watched] }, handle, result);
    return runInBatch.call(this, prelude, watched, one, joint && jointHandlingOf(this, joint));
  };
}
