import type { ChildProcess } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { BetterSqlite3 } from '../tools/better-sqlite3.js';
import { Pool } from 'undici';
import { HTTP } from '../src/infrastructure/cloudevents/http-binding.js';
import type { CloudEvent } from '../src/infrastructure/cloudevents/cloud-event.js';
import { fillMesh } from './backlog.js';
import { openNotes } from './notes.js';
import { endProcess, nextMessage, startProcess } from './processes.js';
import { alternatingWarm, median, perSecond, ratioRow, type Findings, type TestBed } from './rounds.js';

/** Events in the outbox at the start of a measurement. */
const EVENTS = 20_000;
/** Requests in flight, as in the publisher. */
const MAX_IN_FLIGHT = 64;

/** Events published per second from an outbox on SQLite, against an HTTP client that posts the same bytes. */
export async function publishing({ rounds, newDatabasePath }: TestBed): Promise<Findings> {
  const sink = await startProcess('sink.mjs');
  const url = await portOf(sink);
  // A first application migrates the database; events have to be in the outbox before the measured one starts.
  const prepare = async () => {
    const path = newDatabasePath();
    await (await openNotes(`sqlite:${path}`)).close();
    await fillMesh(`sqlite:${path}`, { howMany: EVENTS });
    return path;
  };
  const values = await alternatingWarm(
    rounds,
    async () => publishByMesh(await prepare(), url, sink),
    async () => publishByClient(await prepare(), url, sink),
  );
  await endProcess(sink);
  const [mesh, client] = values.map(median) as [number, number];
  const what = `publishing to an HTTP sink (${EVENTS.toLocaleString('en')} in the outbox)`;
  const against = `a bare keep-alive client (undici), the same bytes, ${MAX_IN_FLIGHT} at a time: ${perSecond(client)}`;
  return {
    rows: [ratioRow({ what, measured: perSecond(mesh), against }, mesh / client, { atLeast: 0.8 })],
    notes: `**Publishing.** The sink is a process that reads each request and answers 202; it measures the time from its first request to its last
answer. The mesh reads the events from SQLite, converts them to HTTP, keeps the order within a partition key, and deletes accepted events
durably. The client posts headers and bodies that are ready in memory. A profile of 30 November 2026 on two cores shows for each message about 24 µs of
processor time: 13 to 15 µs for undici to send the request and receive the answer, which is all that the client does; 2 to 3 µs to read and parse rows, 3 µs to delete accepted
events and to commit that (up to 2,000 at once), 1 to 2 µs to collect garbage, and the rest for queues, headers and metrics. The process also stands still
while the disk writes each \`COMMIT\`. A thread for the database could remove 6 µs at most; its \`COMMIT\` would stop requests that write, since SQLite has one writer.`,
  };
}

async function portOf(sink: ChildProcess): Promise<string> {
  const answer = nextMessage<{ port: number }>(sink, (message) => 'port' in message);
  sink.send({ where: true });
  return `http://127.0.0.1:${(await answer).port}/`;
}

/** @returns events per second */
async function measured(sink: ChildProcess, send: () => Promise<unknown>): Promise<number> {
  const over = nextMessage<{ ms: number }>(sink, (message) => 'ms' in message);
  const expecting = nextMessage(sink, (message) => 'expecting' in message);
  sink.send({ expect: EVENTS });
  await expecting;
  const sending = send();
  const { ms } = await over;
  await sending;
  return (1000 * EVENTS) / ms;
}

async function publishByMesh(path: string, url: string, sink: ChildProcess): Promise<number> {
  const opening: { app?: Awaited<ReturnType<typeof openNotes>> } = {};
  const throughput = await measured(sink, async () => {
    opening.app = await openNotes(`sqlite:${path}`, { broker: { sink: url } });
  });
  const db = new BetterSqlite3(path, { readonly: true });
  const left = db.prepare('SELECT COUNT(*) AS n FROM mesh_outbox').pluck();
  while ((left.get() as number) > 0) await wait(10);
  db.close();
  await opening.app!.close();
  return throughput;
}

async function publishByClient(path: string, url: string, sink: ChildProcess): Promise<number> {
  const db = new BetterSqlite3(path, { readonly: true });
  const events = db.prepare('SELECT event FROM mesh_outbox ORDER BY seq').pluck().all() as string[];
  db.close();
  const messages = events.map((event) => HTTP.binary(JSON.parse(event) as CloudEvent));
  const pool = new Pool(url, { connections: MAX_IN_FLIGHT });
  const throughput = await measured(sink, async () => {
    let next = 0;
    const one = async () => {
      while (next < messages.length) {
        const { headers, body } = messages[next++]!;
        const reply = await pool.request({ path: '/', method: 'POST', headers, body });
        await reply.body.dump();
      }
    };
    await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, one));
  });
  await pool.close();
  return throughput;
}
