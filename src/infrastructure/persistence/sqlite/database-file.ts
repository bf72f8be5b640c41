import { realpathSync, statSync } from 'node:fs';

/**
 * The files of an open SQLite database. When they are deleted or replaced, this process keeps the old files open: what it
 * writes to them is lost when it ends. Processes with different -shm files don't see each other's locks.
 */
export class DatabaseFile {
  private readonly identities = new Map<string, string>();
  private readonly files: readonly string[];

  /** @param path of the database, which is open; may be a symbolic link */
  constructor(path: string) {
    // SQLite puts its other files beside the file that a link points to. The link may point elsewhere later.
    const opened = realpathSync(path);
    this.files = [path, `${opened}-wal`, `${opened}-shm`];
    this.assertInPlace();
  }

  /** @throws Error when the files at the path are no longer those that were opened */
  assertInPlace(): void {
    for (const file of this.files) {
      const stats = statSync(file, { throwIfNoEntry: false });
      const identity = stats && `${stats.dev} ${stats.ino}`;
      const known = this.identities.get(file);
      if (known === undefined && identity) this.identities.set(file, identity);
      if (known !== undefined && known !== identity)
        throw new Error(
          `${file} was deleted or replaced while this process had it open: end the process by SIGTERM, which may save what it holds, and start it again`,
        );
    }
  }
}
