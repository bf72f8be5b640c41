import { Writable } from 'node:stream';
import type { DataSource } from 'typeorm';
import { HISTORIES } from '../../migrations/histories.js';
import { MODULES } from '../../src/app.module.js';
import { connectTo, migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { migrationHistories } from '../../src/infrastructure/store/migration-histories.js';
import { createLogger, PinoLogger } from '../../src/infrastructure/observability/logger.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { startServer, type LoggingServer } from '../support/server.js';

/** Personal data that no line of a log may hold. */
const SECRET = 'Żaneta Nowakówna';

/** What the logger writes, as text and parsed. */
function lineOf(log: (logger: ReturnType<typeof createLogger>) => void): { text: string; fields: Line } {
  let text = '';
  const stream = new Writable({ write: (chunk, _, done) => ((text += String(chunk)), done()) });
  log(createLogger('trace', stream));
  return { text, fields: JSON.parse(text) as Line };
}

interface Line {
  readonly msg: string;
  readonly level: number;
  readonly err: { type: string; message: string; code?: string; stack: string; cause?: Line['err'] };
  readonly res?: { statusCode: number };
  readonly req?: { method: string; url: string; address: string };
}

describe.each(DATABASES)('The log of an error of $kind', ({ kind, fresh }) => {
  const INSERT = kind === 'sqlite' ? 'INSERT INTO person VALUES (?, ?)' : 'INSERT INTO person VALUES ($1, $2)';
  let dataSource: DataSource;
  beforeAll(async () => {
    dataSource = await connectTo(await fresh());
    await dataSource.query('CREATE TABLE person (name VARCHAR(20) UNIQUE NOT NULL, age INTEGER CHECK (age > 0))');
    await dataSource.query(INSERT, [SECRET, 1]);
  });
  afterAll(() => dataSource.destroy());
  const refused: [what: string, statement: string, parameters: unknown[], says: RegExp][] = [
    ['a value that must be unique', INSERT, [SECRET, 1], /unique/i],
    ['a value that breaks a check', INSERT, [`${SECRET}!`, 0], /check constraint/i],
    ['a missing value', INSERT.replace('person', 'person (age, name)'), [1, null], /null/i],
    ['malformed JSON', kind === 'sqlite' ? 'SELECT json(?)' : 'SELECT $1::json', [SECRET], /left out/],
    ['a statement with a value in it', `SELECT "${SECRET}" FROM nowhere ''${SECRET}`, [], /left out/],
    ...(kind === 'sqlite'
      ? []
      : ([
          ['a value of another type', INSERT, ['x', SECRET], /\(22P02\).*left out/],
          ['a date', 'SELECT $1::date', [SECRET], /\(22007\).*left out/],
          ['a long value', INSERT, [SECRET.repeat(3), 1], /\(22001\).*left out/],
        ] satisfies typeof refused)),
  ];
  it.each(refused)('holds no data after %s', async (_, statement, parameters, says) => {
    const error = await dataSource.query(statement, parameters).catch((it: unknown) => it);
    const wrapped = new Error('The ride was not stored', { cause: error });
    const logs = [
      lineOf((logger) => logger.error({ err: error }, 'failed')),
      lineOf((logger) => logger.error(error)),
      lineOf((logger) => logger.error({ err: error })),
      lineOf((logger) => new PinoLogger(logger).error(error, 'Test')),
    ];
    for (const { text, fields } of logs) {
      expect(text).not.toContain(SECRET);
      expect(fields.err).toMatchObject({ type: 'QueryFailedError', message: expect.stringMatching(says) as string });
      expect(Object.keys(fields.err).sort()).toEqual(['code', 'message', 'stack', 'type']);
      expect(fields.err.stack).toMatch(/^QueryFailedError: .*\n +at /);
    }
    const others = [
      lineOf((logger) => logger.error({ err: wrapped }, 'failed')),
      lineOf((logger) => logger.error({ reason: error, first: wrapped }, 'failed')),
      lineOf((logger) => new PinoLogger(logger).error('A hook failed', error, 'Test')),
      lineOf((logger) => logger.error({ err: new AggregateError([error, wrapped]) }, 'failed')),
      lineOf((logger) => logger.error({ statement: { parameters }, context: { driverError: error } }, 'failed')),
    ];
    for (const { text } of others) expect(text).not.toContain(SECRET);
    expect(others[0]!.fields.err.cause).toEqual(logs[0]!.fields.err);
  });
});

describe('The log of an error', () => {
  it('holds no text of malformed JSON, no conditions, and no fields of other errors', () => {
    const malformed = (() => {
      try {
        return JSON.parse(`{"name": ${SECRET}}`) as never;
      } catch (error) {
        return error as Error;
      }
    })();
    const missing = new Error(`Could not find any entity of type "Person" matching: {"name":"${SECRET}"}`);
    const errors = [
      malformed,
      Object.assign(missing, { criteria: {} }),
      Object.assign(new Error('x'), { body: SECRET }),
    ];
    for (const error of errors) {
      const { text, fields } = lineOf((logger) => logger.warn({ err: error }, 'failed'));
      expect(text).not.toContain('Nowak');
      expect(fields.err.stack).toMatch(/\n +at /);
    }
  });

  it('keeps the message of an error of the connection', () => {
    const error = Object.assign(new AggregateError([new Error('connect ECONNREFUSED 127.0.0.1:5432')]), {
      code: 'ECONNREFUSED',
    });
    const { fields } = lineOf((logger) => logger.warn({ err: error }, 'failed'));
    expect(fields.err).toMatchObject({ code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:5432' });
  });

  it('replaces credentials and contents in logged objects', () => {
    const { text } = lineOf((logger) =>
      logger.info({ request: { headers: { authorization: SECRET } }, body: { name: SECRET } }, 'received'),
    );
    expect(text).not.toContain(SECRET);
  });
});

describe('The log of requests', () => {
  let server: LoggingServer;
  beforeAll(async () => {
    const token = { MESH_ADMIN_TOKEN: 'sesame-sesame-sesame', MESH_RECEIVE: 'true', MESH_ALLOW_ANONYMOUS: 'true' };
    const production = { NODE_ENV: 'production', AUTH: 'none', MESH_PORT: '0', MESH_ALLOW_SQLITE: 'true' };
    const database = await DATABASES[0]!.fresh();
    await migrateDatabase(database, migrationHistories(MODULES, HISTORIES));
    server = await startServer({ DATABASE_URL: database, ...token, ...production });
  });
  afterAll(() => server?.end('SIGKILL'));

  it('has refused ones with the address of the client, and no query strings', async () => {
    const json = { 'content-type': 'application/json' };
    const post = (body: string, headers: Record<string, string> = json) => ({ method: 'POST', body, headers });
    const query = `?name=${encodeURIComponent(SECRET)}`;
    const requests: [status: number, url: string, init?: RequestInit][] = [
      [400, `${server.url}/clients`, post('{"name":')],
      [400, `${server.url}/clients`, post(JSON.stringify({ name: SECRET }))],
      [413, `${server.url}/clients`, post(JSON.stringify({ name: SECRET.repeat(10_000) }))],
      [415, `${server.url}/clients`, post(`name=${SECRET}`, { 'content-type': 'text/plain' })],
      [404, `${server.url}/nowhere`],
      [401, `${server.meshUrl}/mesh/dead-letters`],
    ];
    for (const [status, url, init] of requests) {
      const response = await fetch(url + query, init);
      expect({ url, status: response.status }).toEqual({ url, status });
    }
    const event = { ...json, 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/x' };
    expect((await fetch(`${server.meshUrl}/mesh/rides${query}`, post('{}', event))).status).toBe(400);
    const lines = await eventually(
      async () => server.lines().filter((it) => it.startsWith('{') && /refused/.test(it)),
      (found) => found.length > requests.length,
    );
    const logged = lines.map((it) => JSON.parse(it) as Line & { address: string; correlationId?: string });
    expect(logged.slice(0, -1).map(({ req, res }) => [res!.statusCode, req!.url])).toEqual(
      requests.map(([status, url]) => [status, new URL(url).pathname]),
    );
    expect(logged.every(({ level }) => level === 40)).toBe(true);
    for (const { req, correlationId } of logged.slice(0, -1)) {
      expect(req!.address).toMatch(/127\.0\.0\.1$/);
      expect(correlationId).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect(logged.at(-1)).toMatchObject({ msg: 'Event refused', status: 400, address: expect.stringMatching(/127/) });
    expect(server.lines().join('\n')).not.toMatch(/Nowak|%C5%BB/);
  });
});
