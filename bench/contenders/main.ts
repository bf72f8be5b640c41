import 'reflect-metadata';
import pg from 'pg';
import { BetterSqlite3 } from '../../tools/better-sqlite3.js';
import { pathOf, type Contenders } from './contender.js';

/*
 * A contender as a process: its arguments are the name of a file beside this one, and the name of a contender in it. It
 * settles messages for each RoundCommand.
 */

export interface RoundCommand {
  readonly database: string;
  readonly howMany: number;
}

/** The messages of the process. */
export type ContenderMessage = { readonly ready: true } | { readonly perSecond: number };

const [file, name] = process.argv.slice(2) as [string, string];
const { contenders } = (await import(`./${file}.ts`)) as { contenders: Contenders };
const contender = contenders[name]!;
const send = (what: ContenderMessage) => process.send!(what);

process.on('message', (command: RoundCommand) => void round(command));
process.once('disconnect', () => process.exit());
send({ ready: true });

async function round({ database, howMany }: RoundCommand): Promise<void> {
  const perSecond = await contender(database, howMany);
  const written = await writtenRows(database);
  if (written !== howMany) throw new Error(`${file}, ${name}: ${written} of ${howMany} rows were written`);
  send({ perSecond });
}

async function writtenRows(database: string): Promise<number> {
  const count = 'SELECT COUNT(*) AS n FROM notes_note';
  if (database.startsWith('sqlite:')) {
    const db = new BetterSqlite3(pathOf(database), { readonly: true });
    const { n } = db.prepare(count).get() as { n: number };
    db.close();
    return n;
  }
  const client = new pg.Client({ connectionString: database });
  await client.connect();
  const { rows } = await client.query<{ n: string }>(count);
  await client.end();
  return Number(rows[0]!.n);
}
