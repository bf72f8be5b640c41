import pg from 'pg';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { fillMesh } from '../backlog.js';
import { openNotes } from '../notes.js';
import { rate, type Contenders } from './contender.js';
import { insertion, insertionOfAll, type Row } from './writers.js';

/** The mesh has at most as many transactions at a time, and messages in each of them. */
const [CONNECTIONS, BATCH] = [4, 64];

const DUE = {
  name: 'due',
  text: `SELECT seq, consumer, partition_key AS key, event, attempts, created_at FROM mesh_delivery
    WHERE consumer = $1 AND attempts = 0 AND seq > $2 ORDER BY seq LIMIT $3`,
};

/** Claims deliveries and records them in the inbox, as src/infrastructure/store/inbox-rows.ts does without leases. */
const CLAIM = {
  name: 'claim',
  text: `WITH incoming AS MATERIALIZED (
      SELECT index, source, id, seq FROM json_to_recordset($2::json) AS it(index integer, source text, id text, seq bigint)
    ), claimed AS (
      DELETE FROM mesh_delivery WHERE seq = ANY(ARRAY(SELECT seq FROM incoming)) RETURNING seq
    ), ours AS MATERIALIZED (
      SELECT index, source, id FROM incoming WHERE seq IS NULL OR seq IN (SELECT seq FROM claimed)
    ), fresh AS (
      INSERT INTO mesh_inbox (consumer, source, id, handled_at)
      SELECT $1, source, id, $3 FROM ours ORDER BY source, id ON CONFLICT DO NOTHING RETURNING source, id
    )
    SELECT ours.index, fresh.id IS NOT NULL AS is_new FROM ours LEFT JOIN fresh USING (source, id) ORDER BY index`,
};

interface Delivery {
  readonly seq: string;
  readonly event: CloudEvent;
}

type Statements = 'one-by-one' | 'pipelined' | 'unnest';

export const contenders: Contenders = Object.fromEntries(
  (['one-by-one', 'pipelined', 'unnest'] as const).map((way) => [
    way,
    (database, howMany) => settle(database, howMany, way),
  ]),
);

/** Runs the statements of the mesh, prepared, without those that it runs once a second or less often. */
async function settle(connectionString: string, howMany: number, way: Statements): Promise<number> {
  const app = await openNotes(connectionString);
  await app.close();
  await fillMesh(connectionString, { howMany, table: 'mesh_delivery' });
  const open = async (pipeline: boolean) => {
    const client = new pg.Client({ connectionString, pipeline });
    await client.connect();
    return client;
  };
  const reader = await open(false);
  const writers = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(way === 'pipelined')));
  const next = pagesOf(reader);
  const perSecond = await rate(howMany, () => Promise.all(writers.map((client) => work(client, next, way))));
  await Promise.all([reader, ...writers].map((client) => client.end()));
  return perSecond;
}

/** @returns a function that returns the next deliveries, each of them once */
function pagesOf(reader: pg.Client): () => Promise<Delivery[]> {
  let floor = '0';
  let last: Promise<Delivery[]> = Promise.resolve([]);
  const read = async () => {
    const values = ['notes', floor, BATCH];
    const { rows } = await reader.query<{ seq: string; event: string }>({ ...DUE, values });
    floor = rows.at(-1)?.seq ?? floor;
    return rows.map(({ seq, event }) => ({ seq, event: JSON.parse(event) as CloudEvent }));
  };
  return () => (last = last.then(read));
}

/** Handles deliveries until none is left. */
async function work(client: pg.Client, next: () => Promise<Delivery[]>, way: Statements): Promise<void> {
  for (let page = await next(); page.length > 0; page = await next()) {
    const incoming = page.map(({ seq, event: { source, id } }, index) => ({ index, source, id, seq }));
    const claim = { ...CLAIM, values: ['notes', JSON.stringify(incoming), Date.now()] };
    const begun = client.query('BEGIN');
    if (way !== 'pipelined') await begun;
    const { rows } = await client.query<{ index: number; is_new: boolean }>(claim);
    if (rows.length < page.length) throw new Error('A delivery was claimed by another connection');
    const fresh = rows.filter((it) => it.is_new).map(({ index }) => rowOf(page[index]!.event));
    const commit = await writeAndCommit(client, fresh, way);
    // After an error of a statement, COMMIT rolls back and answers ROLLBACK.
    if (commit.command !== 'COMMIT') throw new Error('The transaction was rolled back');
  }
}

function rowOf({ subject, data }: CloudEvent): Row {
  return { id: subject!, text: (data as { text: string }).text };
}

async function writeAndCommit(client: pg.Client, rows: readonly Row[], way: Statements): Promise<pg.QueryResult> {
  if (way === 'unnest') await client.query(insertionOfAll(rows));
  if (way === 'one-by-one') for (const row of rows) await client.query(insertion(row));
  if (way !== 'pipelined') return client.query('COMMIT');
  // All are sent before the first answer is there.
  const answers = await Promise.all([...rows.map((row) => client.query(insertion(row))), client.query('COMMIT')]);
  return answers.at(-1)!;
}
