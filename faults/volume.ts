import { execFileSync } from 'node:child_process';
import { closeSync, cpSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const mounted = new Set<string>();
process.once('exit', () => mounted.forEach(unmount));

/** Where the databases of a combination are: a small file system of their own, which can be full. */
export class Volume {
  private constructor(
    readonly path: string,
    /** Why it can't be filled: it is a plain folder then. */
    readonly unfillable?: string,
  ) {}

  /** @param megabytes its size */
  static open(path: string, megabytes: number): Volume {
    mkdirSync(path, { recursive: true });
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'tmpfs', path], { stdio: 'pipe' });
      mounted.add(path);
      return new Volume(path);
    } catch (error) {
      const [line] = (error as Error).message.split('\n').slice(-2);
      return new Volume(path, `no file system could be mounted (${line})`);
    }
  }

  /** Takes all the room that is left. To be called again and again: what others give back is free otherwise. */
  fill(): void {
    const file = openSync(this.ballast, 'a');
    try {
      for (let size = 1 << 20; size >= 512;) {
        const { bavail, bsize } = statfsSync(this.path);
        if (bavail * bsize < size) size >>= 1;
        else writeSync(file, Buffer.alloc(size));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.ballast, { force: true });
  }

  /** @param keep a folder for a copy of what it holds */
  close(keep?: string): void {
    this.empty();
    if (keep) cpSync(this.path, keep, { recursive: true, filter: (source) => !/\.s\.PGSQL/.test(source) });
    if (mounted.delete(this.path)) unmount(this.path);
  }

  private get ballast(): string {
    return join(this.path, 'ballast');
  }
}

function unmount(path: string): void {
  try {
    execFileSync('umount', ['-l', path], { stdio: 'pipe' });
  } catch {
    // Somebody else has.
  }
}
