import { WriteNote } from './notes.js';
import { alternatingWarm, median, NO_POSTGRES, perSecond, ratioRow, type Findings, type TestBed } from './rounds.js';
import { settleByMesh } from './settle.js';

/** Messages that are pending at the start of a measurement. */
const MESSAGES = 5000;
/** Long enough that nothing is removed. */
const KEPT = { journalMs: 86_400_000 };

/** Messages settled per second with the journal, against without. */
export async function journal({ rounds, newDatabasePath, newPostgresDatabase }: TestBed): Promise<Findings> {
  const sqlite = await compare(rounds, async () => `sqlite:${newDatabasePath()}`);
  const rows = [rowOf('SQLite', sqlite)];
  if (newPostgresDatabase) rows.push(rowOf('PostgreSQL', await compare(rounds, newPostgresDatabase)));
  const missing = newPostgresDatabase ? '' : ` ${NO_POSTGRES}.`;
  return {
    rows,
    notes: `**Journal.** The least message, written by TypeORM, with \`retention.journalMs\` and without.${missing}`,
  };
}

async function compare(rounds: number, newDatabase: () => Promise<string>): Promise<[number, number]> {
  const values = await alternatingWarm(
    rounds,
    async () => settleByMesh(await newDatabase(), MESSAGES, WriteNote, KEPT),
    async () => settleByMesh(await newDatabase(), MESSAGES, WriteNote),
  );
  return values.map(median) as [number, number];
}

function rowOf(database: string, [kept, off]: [number, number]) {
  const what = `messages settled with the journal, ${database}`;
  const against = `without: ${perSecond(off)}`;
  return ratioRow({ what, measured: perSecond(kept), against }, kept / off, { atLeast: 0.9 });
}
