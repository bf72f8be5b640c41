import type { IncomingMessage, ServerResponse } from 'node:http';
import { requeueDeadLetter, type DeadLetterRow } from '../../src/infrastructure/store/dead-letter-rows.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { asText } from './wire.js';

/*
 * What is on its way and what is parked, under the paths of the application, so that
 * `npm run mesh:dead-letters -- list --url http://localhost:8090` works on the laptop broker too.
 */

const PATH = /^\/mesh\/(outbox|dead-letters)(?:\/([\w-]+))?(\/replay)?$/;

/** Letters that one unit of work brings back. */
const BATCH = 100;

/** @returns false when the request is none of its business */
export async function administer(
  request: IncomingMessage,
  response: ServerResponse,
  work: UnitOfWork,
  wakeConsumer: (name: string) => void,
): Promise<boolean> {
  const { pathname, searchParams } = new URL(`http://broker${request.url}`);
  const [, what, id, isReplay] = PATH.exec(pathname) ?? [];
  const place = `${request.method} ${what}${id && id !== 'replay' ? '/id' : ''}${isReplay || id === 'replay' ? '/replay' : ''}`;
  const where = conditions(searchParams, id === 'replay' ? undefined : id);
  const reply = await ((): Promise<object> | undefined => {
    switch (place) {
      case 'GET outbox':
        return outboxStatistics(work.sql);
      case 'GET dead-letters':
        return list(work, where, searchParams);
      case 'GET dead-letters/id':
        return rows(work, where, 1).then(([row]) => (row ? letter(row) : { detail: `There is no dead letter ${id}` }));
      case 'POST dead-letters/replay':
      case 'POST dead-letters/id/replay':
        return replay(work, where, wakeConsumer);
      case 'DELETE dead-letters/id':
        return work.run(async () => ({
          discarded: await work.sql.run(`DELETE FROM mesh_dead_letter ${where.sql}`, where.parameters),
        }));
    }
  })();
  if (!reply) return false;
  const status = 'detail' in reply ? 404 : request.method === 'POST' ? 202 : 200;
  const text = JSON.stringify(reply);
  response
    .writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) })
    .end(text);
  return true;
}

interface Where {
  readonly sql: string;
  readonly parameters: string[];
}

function conditions(search: URLSearchParams, id?: string): Where {
  const given = ['consumer', 'type', 'cause'].filter((column) => search.has(column));
  const pairs = [
    ...given.map((column) => [column, search.get(column)!] as const),
    ...(id ? [['id', id] as const] : []),
  ];
  const sql = pairs.map(([column], index) => `${column} = $${index + 1}`).join(' AND ');
  return { sql: sql && `WHERE ${sql}`, parameters: pairs.map(([, value]) => value) };
}

async function rows({ sql }: UnitOfWork, where: Where, limit: number, offset = 0): Promise<DeadLetterRow[]> {
  const page = `ORDER BY dead_at DESC, id LIMIT ${limit} OFFSET ${offset}`;
  return sql.all<DeadLetterRow>(`SELECT * FROM mesh_dead_letter ${where.sql} ${page}`, where.parameters);
}

async function list(work: UnitOfWork, where: Where, search: URLSearchParams): Promise<object> {
  const [counted] = await work.sql.all<{ n: number }>(
    `SELECT COUNT(*) AS n FROM mesh_dead_letter ${where.sql}`,
    where.parameters,
  );
  const total = counted!.n;
  if (search.get('by') === 'cause') {
    const causes = await work.sql.all<object>(
      `SELECT consumer, type, cause, COUNT(*) AS count FROM mesh_dead_letter ${where.sql}
       GROUP BY consumer, type, cause ORDER BY count DESC LIMIT 100`,
      where.parameters,
    );
    return { total, causes };
  }
  const page = Math.max(1, Math.trunc(Number(search.get('page') ?? 1)) || 1);
  const size = Math.min(100, Math.max(1, Math.trunc(Number(search.get('size') ?? 20)) || 20));
  const items = (await rows(work, where, size, (page - 1) * size)).map(letter);
  return { items, page, size, total };
}

async function replay(work: UnitOfWork, where: Where, wakeConsumer: (name: string) => void): Promise<object> {
  // Only those that are parked now: one that fails again meanwhile waits for the next replay.
  const now = Date.now();
  const parked: Where = { ...where, sql: `${where.sql ? `${where.sql} AND` : 'WHERE'} dead_at <= ${now}` };
  for (let replayed = 0; ;) {
    const revived = await work.run(async () => {
      const found = await rows(work, parked, BATCH);
      for (const row of found) await requeueDeadLetter(work.sql, row);
      return found;
    });
    replayed += revived.length;
    for (const consumer of new Set(revived.map((row) => row.consumer))) wakeConsumer(consumer);
    if (revived.length < BATCH) return { replayed };
  }
}

function letter({ dead_at, event, ...row }: DeadLetterRow): object {
  const { data, ...attributes } = JSON.parse(event) as Record<string, unknown>;
  const legible = Object.entries(attributes).map(([name, it]) => [name, typeof it === 'string' ? asText(it) : it]);
  return {
    ...row,
    deadAt: new Date(dead_at).toISOString(),
    event: { ...(Object.fromEntries(legible) as object), data },
  };
}
