/**
 * Settles messages that are pending at the start, each with a handler that writes one row into notes_note.
 * @param database an empty database: `sqlite:<path>` or `postgres://…`
 * @returns messages per second
 */
export type Contender = (database: string, howMany: number) => Promise<number>;

/** What each module of a contender exports. */
export type Contenders = Readonly<Record<string, Contender>>;

/** Runs `work`. @returns messages per second */
export async function rate(howMany: number, work: () => unknown): Promise<number> {
  const started = performance.now();
  await work();
  return (1000 * howMany) / (performance.now() - started);
}

/** The path of a SQLite file. */
export function pathOf(database: string): string {
  return database.slice('sqlite:'.length);
}
