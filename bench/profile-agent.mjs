/*
 * Loaded by `node --import` into the application that bench/profile.ts measures. On `{ begin: true }` it starts to note the
 * statements and, with `cpu`, where the processor's time goes; on `{ end: true }` it sends what it has noted.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { Session } from 'node:inspector/promises';
import pg from 'pg';
import { sqliteDriver } from '../dist/src/infrastructure/persistence/sqlite/sqlite-driver.js';

/** The message that the calling code handles. */
const handled = new AsyncLocalStorage();
const handling = tracingChannel('meshy.handling');
handling.start.bindStore(handled, ({ event, consumer }) => `${event.type} (${consumer})`);

let statements;
let cpuSince;
let session;

function note(text, isRoundTrip, ms = 0) {
  if (!statements) return;
  const message = handled.getStore() ?? '';
  const key = JSON.stringify([message, text]);
  const known = statements.get(key) ?? { message, text, count: 0, roundTrips: 0, ms: 0 };
  known.count++;
  known.ms += ms;
  if (isRoundTrip) known.roundTrips++;
  statements.set(key, known);
}

const { query } = pg.Client.prototype;
pg.Client.prototype.query = function (...parameters) {
  const [statement] = parameters;
  // A statement that is sent before the last one is answered shares its round trip.
  const isWaiting = Boolean(this.pipeline ?? this._pipeline) && Boolean(this._profiledInFlight);
  note(typeof statement === 'string' ? statement : statement.text, !isWaiting);
  const answer = query.apply(this, parameters);
  if (typeof answer?.then === 'function') {
    this._profiledInFlight = (this._profiledInFlight ?? 0) + 1;
    const over = () => void this._profiledInFlight--;
    answer.then(over, over);
  }
  return answer;
};

const { default: installed } = await import('better-sqlite3');
const Sqlite = (await sqliteDriver()) ?? installed;
const { prepare, exec } = Sqlite.prototype;
Sqlite.prototype.prepare = function (text) {
  const statement = prepare.call(this, text);
  for (const method of ['run', 'all', 'get']) {
    const execute = statement[method];
    statement[method] = function (...parameters) {
      const began = performance.now();
      try {
        return execute.apply(this, parameters);
      } finally {
        note(text, false, performance.now() - began);
      }
    };
  }
  return statement;
};
Sqlite.prototype.exec = function (text) {
  note(text, false);
  return exec.call(this, text);
};

process.on('message', async (message) => {
  if (message?.begin) {
    statements = new Map();
    if (message.cpu) {
      session = new Session();
      session.connect();
      await session.post('Profiler.enable');
      await session.post('Profiler.start');
    }
    cpuSince = process.cpuUsage();
    process.send({ began: true });
  }
  if (message?.end) {
    const { user, system } = process.cpuUsage(cpuSince);
    const noted = [...statements.values()];
    statements = undefined;
    const profile = session && (await session.post('Profiler.stop')).profile;
    session?.disconnect();
    session = undefined;
    process.send({
      ended: true,
      statements: noted,
      cpuMs: (user + system) / 1000,
      selfMs: profile && selfTimes(profile),
    });
  }
});
process.channel?.unref();

/** The time of each file itself, in ms. */
function selfTimes({ nodes, samples, timeDeltas }) {
  const fileOf = new Map(
    nodes.map(({ id, callFrame: { url, functionName } }) => [id, url || `(${functionName.replace(/[()]/g, '')})`]),
  );
  const times = {};
  for (const [index, id] of samples.entries()) {
    const file = fileOf.get(id);
    times[file] = (times[file] ?? 0) + timeDeltas[index] / 1000;
  }
  return times;
}
