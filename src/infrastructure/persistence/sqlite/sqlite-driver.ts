// Declares better-sqlite3-13, which npm doesn't install on Node 20.
// eslint-disable-next-line @typescript-eslint/triple-slash-reference
/// <reference path="./better-sqlite3-13.d.ts" />

/** Version 13 of better-sqlite3 needs this version of Node. Version 12 ends a process of Node 24. */
const NEWER_FROM = 22;

/**
 * The value for `driver` of TypeORM: better-sqlite3 13 where it is installed beside 12, under the name better-sqlite3-13,
 * because TypeORM 1.1 demands 12. Undefined where TypeORM's own choice is right.
 */
export async function sqliteDriver(): Promise<unknown> {
  if (parseInt(process.versions.node) < NEWER_FROM) return undefined;
  try {
    return (await import('better-sqlite3-13')).default;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}
