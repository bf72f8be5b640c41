import { parseAddress } from './database-address.js';
import { driverErrorOf } from './sql.js';

/** Error codes of PostgreSQL, SQLite and the operating system for a user who may not do something. */
const MISSING_RIGHTS = /^(42501|28000|28P01|SQLITE_READONLY.*|SQLITE_CANTOPEN.*|SQLITE_PERM|EACCES|EPERM|EROFS)$/;

/**
 * What a migration needs, in one line, when an error says that the user of the database lacks a right; else undefined.
 * Names the database without its password.
 */
export function missingRights(error: unknown, databaseUrl: string): string | undefined {
  // An error of opening the database has that of the driver as its cause.
  const reason = [error, (error as Error).cause]
    .map(driverErrorOf)
    .find(({ code }) => MISSING_RIGHTS.test(String(code)));
  if (!reason) return undefined;
  const [text] = String(reason.message).split('\n');
  const file = /^sqlite:(.+)$/.exec(databaseUrl)?.[1];
  if (file) return `No right to write ${file}: migrate as a user who may write the file and its folder (${text})`;
  const user = decodeURIComponent(parseAddress(databaseUrl).username) || 'of this process';
  return (
    `The user ${user} has not all rights on the database: migrations need to log in, and to create and change tables in ` +
    `its schema. Grant them, or set DATABASE_URL to a user who has them (${text})`
  );
}
