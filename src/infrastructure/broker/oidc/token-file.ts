import { readFile } from 'node:fs/promises';

/** After this time the file is read again, in ms. Kubernetes replaces a token when a fifth of its life is left. */
const REREAD_MS = 10_000;

/**
 * The token that is shown to a broker, out of a file that someone else keeps fresh: a projected volume of Kubernetes, which
 * replaces its files all at once by turning a symbolic link.
 */
export class TokenFile {
  private kept?: { readonly at: number; readonly authorization: Promise<string> };

  constructor(private readonly path: string) {}

  /**
   * The value of the Authorization header; from a reading that is less than 10 s old.
   * @throws Error naming the file when it can't be read, or doesn't hold a token; the next call reads it again
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

  /** After a 401: the next call reads the file, whatever its age. */
  forget(): void {
    this.kept = undefined;
  }
}

async function bearer(path: string): Promise<string> {
  const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`The token file ${path} can't be read: ${error.code ?? error.name}`);
  });
  const token = content.trim();
  // Anything else would be refused by the HTTP client, with an error that quotes it.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error(`The token file ${path} doesn't hold a token`);
  return `Bearer ${token}`;
}
