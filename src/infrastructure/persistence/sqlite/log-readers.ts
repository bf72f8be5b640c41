import { readFileSync, realpathSync, statSync } from 'node:fs';
import { OLD_SNAPSHOT_MS, type OldSnapshot } from '../old-snapshot.js';

/** A smaller write-ahead log does no harm, in bytes. SQLite begins it anew long before, unless a process still reads it. */
const LARGE_LOG_BYTES = 16 * 1024 * 1024;
/** The bytes of the -shm file that readers of the log lock: WAL_READ_LOCK(0) to (4) of SQLite's walformat.html, from 120 on. */
const READ_LOCKS = { first: 123, last: 127 };

/** Finds a process that reads for so long that the write-ahead log of a SQLite database can't be reused. */
export class LogReaders {
  /** The reader of a large log, and since when it has been found, on the clock of `performance.now()`. */
  private reader?: { readonly pid: number; readonly since: number };

  private readonly path: string;

  /** @param path of the database, which is open; may be a symbolic link */
  constructor(path: string) {
    // SQLite puts its other files beside the file that a link points to.
    this.path = realpathSync(path);
  }

  /** The reader, when it has read a large log for a while. To be called now and then. */
  find(): OldSnapshot | undefined {
    const bytes = statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    const pid = bytes < LARGE_LOG_BYTES ? undefined : this.readerNow();
    if (pid === undefined) {
      this.reader = undefined;
      return undefined;
    }
    if (this.reader?.pid !== pid) this.reader = { pid, since: performance.now() };
    const ageMs = Math.round(performance.now() - this.reader.since);
    if (ageMs < OLD_SNAPSHOT_MS) return undefined;
    const megabytes = Math.round(bytes / 1024 / 1024);
    return { ageMs, pid, what: `a process reads the database for long, the write-ahead log has ${megabytes} MB` };
  }

  /** Linux lists the locks of all processes; elsewhere the reader isn't known. */
  private readerNow(): number | undefined {
    const inode = statSync(`${this.path}-shm`, { throwIfNoEntry: false })?.ino;
    let locks: string;
    try {
      locks = readFileSync('/proc/locks', 'utf8');
    } catch {
      return undefined;
    }
    // "3: POSIX  ADVISORY  READ 4711 08:01:131090 124 124"
    for (const [, pid, file, first] of locks.matchAll(/POSIX\s+ADVISORY\s+READ\s+(\d+)\s+\w+:\w+:(\d+)\s+(\d+)/g)) {
      const isRead = Number(first) >= READ_LOCKS.first && Number(first) <= READ_LOCKS.last;
      if (isRead && Number(file) === inode && Number(pid) !== process.pid) return Number(pid);
    }
    return undefined;
  }
}
