import { readFileSync, statSync } from 'node:fs';
import { OLD_SNAPSHOT_MS, type OldSnapshot } from '../old-snapshot.js';

/** Larger than this, in bytes, the write-ahead log is only when a reader keeps SQLite from beginning it anew. */
const LARGE_LOG_BYTES = 16 * 1024 * 1024;
/** The bytes of the -shm file that readers of the log lock: WAL_READ_LOCK(0) to (4) of SQLite's walformat.html, from 120 on. */
const READ_LOCKS = { first: 123, last: 127 };

/** Finds a process that reads for so long that the write-ahead log of a SQLite database can't be reused. */
export class LogReaders {
  /** When the log was first found large, on the clock of `performance.now()`. */
  private since?: number;

  /** @param path of the database */
  constructor(private readonly path: string) {}

  /** The reader, when the log has been large for a while. To be called now and then. */
  find(): OldSnapshot | undefined {
    const bytes = statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (bytes < LARGE_LOG_BYTES) {
      this.since = undefined;
      return undefined;
    }
    this.since ??= performance.now();
    const ageMs = Math.round(performance.now() - this.since);
    if (ageMs < OLD_SNAPSHOT_MS) return undefined;
    const pid = this.reader();
    const size = `the write-ahead log has ${Math.round(bytes / 1024 / 1024)} MB`;
    return { ageMs, ...(pid !== undefined && { pid }), what: `a process reads the database for long, ${size}` };
  }

  /** Linux lists the locks of all processes; elsewhere the reader isn't known. */
  private reader(): number | undefined {
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
