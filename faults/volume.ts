import { execFileSync } from 'node:child_process';
import { closeSync, cpSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const mounted = new Set<string>();
process.once('exit', () => mounted.forEach(unmount));

/** A small file system for the databases of a combination, so that the rig can fill it. */
export class Volume {
  private constructor(
    readonly path: string,
    /** Why the volume can't be filled: it is a plain folder then. */
    readonly unfillable?: string,
  ) {}

  /** Mounts a tmpfs; without the right to mount, uses a plain folder. */
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

  /** Fills all free space once. Call it repeatedly: other processes free space meanwhile. */
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

  /** @param keep a folder that gets a copy of the contents */
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
    // It is not mounted any more.
  }
}
