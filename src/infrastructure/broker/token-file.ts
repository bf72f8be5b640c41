import { readFile } from 'node:fs/promises';

/** How long a token is kept before the file is read again, in ms. Kubernetes replaces tokens long before they expire. */
const REREAD_MS = 10_000;

/**
 * A bearer token from a file that Kubernetes keeps fresh (a projected volume, whose files are replaced atomically by a
 * symbolic link).
 */
export class TokenFile {
  private kept?: { readonly at: number; readonly authorization: Promise<string> };

  constructor(private readonly path: string) {}

  /**
   * The value of the Authorization header, read less than 10 s ago.
   * @throws Error that names the file when it can't be read or holds no token; the next call reads it again
   */
  authorization(): Promise<string> {
    if (this.kept && performance.now() - this.kept.at < REREAD_MS) return this.kept.authorization;
    const kept = { at: performance.now(), authorization: bearer(this.path) };
    kept.authorization.catch(() => {
      if (this.kept === kept) this.forget();
    });
    this.kept = kept;
    return kept.authorization;
  }

  /** Called after a 401: the next call reads the file again. */
  forget(): void {
    this.kept = undefined;
  }
}

async function bearer(path: string): Promise<string> {
  const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`The token file ${path} can't be read: ${error.code ?? error.name}`);
  });
  const token = content.trim();
  // The HTTP client would refuse other characters, with an error that quotes the token.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`The token file ${path} doesn't hold a token`);
  return `Bearer ${token}`;
}
