import { aimOf, compare, GRAPHILE, MESSAGES, PG_BOSS, type Comparison } from './contenders/compare.js';
import { NO_POSTGRES, type Findings, type TestBed } from './rounds.js';

const WHAT = `messages settled, PostgreSQL, one replica (${MESSAGES.toLocaleString('en')} pending)`;
const ORM = { ours: 'mesh/orm', what: `${WHAT}, by TypeORM` };
const PREPARED = { ours: 'mesh/prepared', what: `${WHAT}, by a prepared statement` };

const BATCHED = { ours: 'mesh/batched', what: `${WHAT}, a handler of several messages` };

const EXACTLY_ONCE = 'with our guarantee';
const WITH_INBOX = 'with an inbox (completed in another transaction)';
const WEAKER = 'by default (weaker guarantee)';

const COMPARISONS: readonly Comparison[] = [
  { ...ORM, theirs: 'pg-boss/orm-exactly-once', against: `${PG_BOSS} ${EXACTLY_ONCE}, same ORM`, atLeast: 2 },
  { ...ORM, theirs: 'graphile-worker/orm-inbox', against: `${GRAPHILE} ${WITH_INBOX}, same ORM`, atLeast: 2 },
  { ...ORM, theirs: 'pg-boss/orm', against: `${PG_BOSS} ${WEAKER}, same ORM` },
  { ...ORM, theirs: 'graphile-worker/orm', against: `${GRAPHILE} ${WEAKER}, same ORM` },
  { ...PREPARED, theirs: 'bare-postgres/pipelined', against: 'bare pg, pipelined', atLeast: 0.6 },
  { ...PREPARED, theirs: 'bare-postgres/one-by-one', against: 'bare pg, one by one' },
  {
    ...BATCHED,
    theirs: 'bare-postgres/unnest',
    against: 'bare pg, one statement for the rows of a batch',
    atLeast: 0.5,
  },
  { ...PREPARED, theirs: 'pg-boss/prepared-exactly-once', against: `${PG_BOSS} ${EXACTLY_ONCE}, prepared` },
  { ...PREPARED, theirs: 'graphile-worker/prepared-inbox', against: `${GRAPHILE} ${WITH_INBOX}, prepared` },
  { ...PREPARED, theirs: 'pg-boss/prepared', against: `${PG_BOSS} ${WEAKER}, prepared` },
  { ...PREPARED, theirs: 'graphile-worker/prepared', against: `${GRAPHILE} ${WEAKER}, prepared` },
  {
    ...BATCHED,
    theirs: 'pg-boss/unnest-exactly-once',
    against: `${PG_BOSS} ${EXACTLY_ONCE}, one statement for the rows of a batch`,
  },
  {
    ...BATCHED,
    theirs: 'pg-boss/unnest',
    against: `${PG_BOSS} ${WEAKER}, one statement for the rows of a batch`,
  },
];

/** Messages settled per second on PostgreSQL, against graphile-worker, pg-boss and the bare statements. */
export async function postgresContenders({ rounds, newPostgresDatabase }: TestBed): Promise<Findings> {
  if (!newPostgresDatabase) {
    const [{ what, atLeast }] = COMPARISONS as [Comparison];
    return { rows: [{ what, measured: NO_POSTGRES, against: '', aim: aimOf(atLeast) }], notes: '' };
  }
  return {
    rows: await compare(COMPARISONS, { rounds, newDatabase: newPostgresDatabase }),
    notes: `**PostgreSQL.** Each contender, the mesh too, is a process of its own, with the same pg and TypeORM. The
same server for all, at its default durability (\`fsync\` and \`synchronous_commit\` on), a fresh database for each round, \`ANALYZE\` and
\`CHECKPOINT\` before each measurement. The messages of the mesh are pending as deliveries. It prepares
the statements of TypeORM, as no rival does. Its guarantee: one transaction claims the
message, inserts the inbox record and writes the row of the handler; order per partition key; a message that fails doesn't take others along.

- **With our guarantee**, pg-boss fetches 100 jobs, inserts their ids into an inbox by one statement, writes the rows one by one and
  completes the jobs in one transaction, by its option \`db\`, on 4 connections. Unlike the mesh, it keeps no order per key, all jobs of a batch fail together,
  and the rollback also takes back that the attempt was counted. Its workers with
  \`transactional: true\` count it, with one commit more; they are not measured.
- graphile-worker deletes a job after its task, on a connection of its own, and \`complete_jobs\` refuses a job that is being run. So it
  can't give this guarantee. **With an inbox**, the task writes its row and an inbox record of the job in one transaction, and the job is completed in another one: after a crash
  the job runs again, and the inbox keeps it from writing twice, as long as the record is kept.
- **By default** the row is written over a pool of 10 connections, in another transaction than the completion, and a retry writes it again. pg-boss: 4 workers
  with batches of 100 (\`burstWhenBatchFull\`), whose handlers write at the same time. graphile-worker has the settings of its page on performance: concurrency
  24, pool 25, local queue of 500, completions in batches.
- **Bare pg** runs the statements of the mesh (claim, inbox, insert) without leases and framework: 64 messages in a transaction, on 4
  connections, and one that looks deliveries up. "Pipelined" sends the inserts and the \`COMMIT\` before the first answer, by \`pipeline: true\` of pg.`,
  };
}
