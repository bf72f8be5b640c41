import { statSync } from 'node:fs';

/**
 * The files of an open SQLite database. When they are deleted or replaced, this process keeps the old files open: what it
 * writes to them is lost when it ends.
 */
export class DatabaseFile {
  private readonly identities = new Map<string, string>();

  /** @param path of the database, which is open */
  constructor(private readonly path: string) {
    this.assertInPlace();
  }

  /** @throws Error when the files at the path are no longer those that were opened */
  assertInPlace(): void {
    for (const file of [this.path, `${this.path}-wal`]) {
      const stats = statSync(file, { throwIfNoEntry: false });
      const identity = stats && `${stats.dev} ${stats.ino}`;
      const known = this.identities.get(file);
      if (known === undefined && identity) this.identities.set(file, identity);
      if (known !== undefined && known !== identity)
        throw new Error(`${file} was deleted or replaced while this process had it open: restart the process`);
    }
  }
}
