import { compare, MESSAGES, PLAINJOB, type Comparison } from './contenders/compare.js';
import type { Findings, TestBed } from './rounds.js';

const WHAT = `messages settled, SQLite, synchronous=FULL (${MESSAGES.toLocaleString('en')} pending)`;
const ORM = { ours: 'mesh/orm', what: `${WHAT}, by TypeORM` };
const PREPARED = { ours: 'mesh/prepared', what: `${WHAT}, by a prepared statement` };
const BATCHED = { ours: 'mesh/batched', what: `${WHAT}, a handler of several messages` };
const BARE = { theirs: 'bare-sqlite/one-by-one', against: 'the same statements by bare better-sqlite3' };

const EXACTLY_ONCE = `${PLAINJOB} with our guarantee`;
const WEAKER = `${PLAINJOB} by default (weaker guarantee)`;

const COMPARISONS: readonly Comparison[] = [
  { ...ORM, ...BARE, atLeast: 0.4 },
  { ...PREPARED, ...BARE, atLeast: 0.6 },
  { ...BATCHED, ...BARE, atLeast: 0.7 },
  { ...ORM, theirs: 'plainjob/orm-exactly-once', against: `${EXACTLY_ONCE}, same ORM` },
  { ...PREPARED, theirs: 'plainjob/prepared-exactly-once', against: `${EXACTLY_ONCE}, prepared` },
  { ...ORM, theirs: 'plainjob/orm', against: `${WEAKER}, same ORM`, atLeast: 5 },
  { ...PREPARED, theirs: 'plainjob/prepared', against: `${WEAKER}, prepared` },
];

/** Messages settled per second on SQLite, against plainjob and the bare statements. */
export async function sqliteContenders({ rounds, newDatabasePath }: TestBed): Promise<Findings> {
  return {
    rows: await compare(COMPARISONS, { rounds, newDatabase: async () => `sqlite:${newDatabasePath()}` }),
    notes: `**SQLite.** Each contender, the mesh too, is a process of its own, with better-sqlite3 13. All use
\`journal_mode=WAL\` and \`synchronous=FULL\`. The messages of the mesh are pending as deliveries. It writes the row of a message by TypeORM, or by \`work.sql.run(…)\`,
in a unit of work with an inbox record. "The same statements" are those of a trace of the mesh, in the same order and batches: 128
deliveries are looked up and share one \`BEGIN IMMEDIATE\` … \`COMMIT\`; 64 of them share a savepoint, and are claimed by one
\`DELETE … RETURNING\`, inserted into the inbox and written one by one. These statements are prepared, on one connection (the mesh reads
over another one), without a framework.

plainjob writes the rows on the connection of its queue. By default a worker claims, handles and completes one job after another, in three
transactions, and a retry writes the row again. "With our guarantee", the methods of the queue that the worker calls run for 128 jobs in one
transaction, with the row and an inbox record of each job. Unlike in the mesh, all of these jobs fail together.`,
  };
}
