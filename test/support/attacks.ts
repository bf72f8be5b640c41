import { Agent, request, type IncomingHttpHeaders } from 'node:http';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { MODULES } from '../../src/app.module.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP, toBatch } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toWire } from '../../src/infrastructure/cloudevents/mapping.js';
import { permittedSenders } from '../../src/infrastructure/contracts/message.js';
import { meshFeatureOf, messagesIn } from '../../src/infrastructure/contracts/mesh-feature.js';
import { connect } from './notes.js';
import { sampleOf } from './samples.js';

/* Requests that someone may send who must not, made from the contracts and the routes of the application. */

export interface Attack {
  readonly method: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

const features = MODULES.map(meshFeatureOf);
const contracts = features.map(({ contract }) => messagesIn(contract));
export const MODULE_NAMES = features.map(({ name }) => name);

/** The senders that the contract of each message and query names. */
const permitted = new Map(
  features.flatMap(({ name, contract }) => {
    const { messages, queries } = messagesIn(contract);
    return [...messages, ...queries].map((it) => [
      it.kind === 'query' ? it.queryName : it.type,
      permittedSenders(it, name),
    ]);
  }),
);

/** Whether the contracts let a source send a type, or a module ask a query by its name. */
export function isPermitted(name: string, sender: string): boolean {
  return permitted.get(name)!.some((it) => sender === it || sender === `usvc://cabs/${it}`);
}

/** One event of every durable message, with each module as its forged source. */
export function everyEvent(subject: string): CloudEvent[] {
  const messages = contracts.flatMap((it) => it.messages);
  return messages.flatMap(({ type, schema }) =>
    [...MODULE_NAMES, 'legacy'].map((sender) => ({
      specversion: '1.0',
      id: crypto.randomUUID(),
      source: `usvc://cabs/${sender}`,
      type,
      subject,
      time: new Date().toISOString(),
      datacontenttype: 'application/json',
      partitionkey: subject,
      data: toWire(sampleOf(schema)),
    })),
  );
}

/** The deliveries of an event in all modes, to a path. */
export function deliveriesOf(event: CloudEvent, path: string): Attack[] {
  return [HTTP.binary(event), HTTP.structured(event), toBatch([event])].map(({ headers, body }) => ({
    method: 'POST',
    path,
    headers,
    body,
  }));
}

/** Every query of every module. */
export function everyQuery(): Attack[] {
  return contracts
    .flatMap((it) => it.queries)
    .map(({ queryName, schema }) => ({
      method: 'POST',
      path: `/mesh/queries/${queryName}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(toWire(sampleOf(schema))),
    }));
}

interface Layer {
  readonly route?: { readonly path: string; readonly methods: Readonly<Record<string, boolean>> };
}

/** The routes of the application's controllers, with an id in the place of each parameter. */
export function routesOf(app: NestExpressApplication): Attack[] {
  const { router } = app.getHttpAdapter().getInstance() as unknown as { router: { stack: readonly Layer[] } };
  return router.stack.flatMap(({ route }) => {
    const methods = Object.keys(route?.methods ?? {});
    // What has all methods is no controller, but answers 405.
    if (methods.length !== 1) return [];
    return [{ method: methods[0]!.toUpperCase(), path: route!.path.replace(/:\w+/g, crypto.randomUUID()) }];
  });
}

/** Spellings of a path that a server may take for the same path. */
export function spellingsOf(path: string): string[] {
  const encoded = path.replace(/[a-z]/g, (letter, at: number) =>
    at % 3 === 1 ? `%${letter.charCodeAt(0).toString(16)}` : letter,
  );
  return [
    path,
    path.toUpperCase(),
    encoded,
    `${path}/`,
    `/${path}`,
    `/.${path}`,
    `/x/..${path}`,
    path.replace(/(?<=.)\//g, '//'),
    `http://127.0.0.1${path}`,
    `HTTP://localhost:8081${path}`,
    `${path}?a=1`,
    `${path}%2f`,
    `${path};a=1`,
  ];
}

/** Sends a request with exactly this path. */
export function send(port: number, { method, path, headers = {}, body }: Attack, agent: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.once('error', reject).once('end', () => {
        resolve({ status: response.statusCode!, headers: response.headers, text });
      });
    });
    sent.once('error', reject).end(body);
  });
}

/** The table that a process without work changes: its heartbeat. */
const HEARTBEATS = 'mesh_replica';

/** All rows of a database, for comparisons. */
export async function contentsOf(location: string): Promise<Record<string, string[]>> {
  const connection = await connect(location);
  const names = location.startsWith('sqlite:')
    ? `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
    : `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'`;
  const contents: Record<string, string[]> = {};
  for (const { name } of await connection.all<{ name: string }>(names)) {
    if (name === HEARTBEATS) continue;
    const rows = await connection.all<object>(`SELECT * FROM "${name}"`);
    contents[name] = rows.map((row) => JSON.stringify(row)).sort();
  }
  await connection.close();
  return contents;
}
