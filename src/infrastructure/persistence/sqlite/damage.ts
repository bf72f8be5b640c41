import type BetterSqlite3 from 'better-sqlite3';
import { DatabaseUnavailable, driverErrorOf, noteReported } from '../sql.js';

const METHODS = ['all', 'get', 'run', 'iterate'] as const;

/** Remembers that SQLite has found the file of the database damaged: other pages may still be read and written. */
export class Damage {
  private damage?: DatabaseUnavailable;

  /** What SQLite said first; undefined while no damage is known. A process that starts later looks anew. */
  get found(): DatabaseUnavailable | undefined {
    return this.damage;
  }

  /** Watches all statements that `db` prepares from now on, also those of TypeORM. */
  watch(db: BetterSqlite3.Database): void {
    const prepare = db.prepare.bind(db) as (text: string) => BetterSqlite3.Statement;
    const watched = (text: string) => {
      const statement = this.prepared(() => prepare(text));
      for (const name of METHODS) {
        const method = statement[name].bind(statement) as (...parameters: unknown[]) => unknown;
        const value = (...values: unknown[]) => {
          try {
            return method(...values);
          } catch (error) {
            throw this.noted(error);
          }
        };
        Object.defineProperty(statement, name, { value });
      }
      return statement;
    };
    Object.assign(db, { prepare: watched });
  }

  private prepared<T>(prepare: () => T): T {
    try {
      return prepare();
    } catch (error) {
      throw this.noted(error);
    }
  }

  private noted(error: unknown): unknown {
    const { code, message } = driverErrorOf(noteReported(error));
    if (/^SQLITE_(CORRUPT|NOTADB)/.test(String(code)))
      this.damage ??= new DatabaseUnavailable(
        `The file of the database is damaged (${String(message)}): restore it and restart the process`,
        { cause: error },
      );
    return error;
  }
}
