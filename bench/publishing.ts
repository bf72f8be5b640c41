import type { ChildProcess } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import BetterSqlite3 from 'better-sqlite3';
import { Pool } from 'undici';
import { toHttp } from '../src/infrastructure/cloudevents/http-binding.js';
import type { CloudEvent } from '../src/infrastructure/cloudevents/cloud-event.js';
import { fillMesh } from './backlog.js';
import { openNotes } from './notes.js';
import { endProcess, nextMessage, startProcess } from './processes.js';
import { alternatingWarm, median, perSecond, ratioRow, type Findings, type TestBed } from './rounds.js';

/** Events in the outbox when the first is sent. */
const EVENTS = 10_000;
/** As the publisher has it. */
const IN_FLIGHT = 64;

/** Events published a second from an outbox on SQLite, against a bare client that posts the same bytes. */
export async function publishing({ rounds, newDatabasePath }: TestBed): Promise<Findings> {
  const sink = await startProcess('sink.mjs');
  const url = await portOf(sink);
  // One application migrates a database for the other: what is in the outbox when ours starts leaves at once.
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
  const against = `a bare keep-alive client (undici), the same bytes, ${IN_FLIGHT} at a time: ${perSecond(client)}`;
  return {
    rows: [ratioRow({ what, measured: perSecond(mesh), against }, mesh / client, { atLeast: 0.8 })],
    notes: `**Publishing.** The sink is a process that reads what it gets and answers 202; it measures, from its first request to its last
answer. Ours reads the events from SQLite, writes them as HTTP, keeps order within a partition key, and removes what was accepted,
durably. The client posts headers and bodies that lie in memory, ready. Where the time goes, by a profile of November 2026 on two cores: about 25 µs of each
message are undici's, sending it and hearing the answer, which is all that the client does; 2 to 4 are reading rows, 1.3 parsing them, 2 writing headers, 4 to 5 removing
what was accepted, durably (a \`DELETE\` and a \`COMMIT\` for some 600), and 3 the order within a key and the log. A thread of its own for the
database would close it.`,
  };
}

async function portOf(sink: ChildProcess): Promise<string> {
  const told = nextMessage<{ port: number }>(sink, (message) => 'port' in message);
  sink.send({ where: true });
  return `http://127.0.0.1:${(await told).port}/`;
}

/** @returns events a second */
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
    opening.app = await openNotes(`sqlite:${path}`, { sink: url });
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
  const messages = events.map((event) => toHttp(JSON.parse(event) as CloudEvent));
  const pool = new Pool(url, { connections: IN_FLIGHT });
  const throughput = await measured(sink, async () => {
    let next = 0;
    const one = async () => {
      while (next < messages.length) {
        const { headers, body } = messages[next++]!;
        const reply = await pool.request({ path: '/', method: 'POST', headers, body });
        await reply.body.dump();
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, one));
  });
  await pool.close();
  return throughput;
}
