/** Error codes of PostgreSQL, SQLite and the operating system for a user who may not do something. */
const MISSING_RIGHTS = /^(42501|28000|28P01|SQLITE_READONLY.*|SQLITE_CANTOPEN.*|SQLITE_PERM|EACCES|EPERM|EROFS)$/;

/**
 * What a migration needs, in one line, when an error says that the user of the database lacks a right; else undefined.
 * Names the database without its password.
 */
export function missingRights(error: unknown, databaseUrl: string): string | undefined {
  const { code, driverError, message } = error as { code?: string; driverError?: { code?: string }; message?: string };
  if (!MISSING_RIGHTS.test(code ?? driverError?.code ?? '')) return undefined;
  const reason = message?.split('\n')[0];
  const file = /^sqlite:(.+)$/.exec(databaseUrl)?.[1];
  if (file) return `No right to write ${file}: migrate as a user who may write the file and its folder (${reason})`;
  const user = decodeURIComponent(new URL(databaseUrl).username) || 'of this process';
  return (
    `The user ${user} has not all rights on the database: migrations need to log in, and to create and change tables in ` +
    `its schema. Grant them, or set DATABASE_URL to a user who has them (${reason})`
  );
}
