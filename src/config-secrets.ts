import { readFileSync } from 'node:fs';
import { problem } from './config-schema.js';

/** Variables whose value may be in a file instead, which `<VARIABLE>_FILE` names. */
const SECRETS = ['DATABASE_URL', 'MESH_ADMIN_TOKEN', 'MESH_READ_TOKEN'];

type Values = Readonly<Record<string, string>>;

/** The variables after the files were read. */
interface ReadSecrets {
  readonly values: Values;
  /** The variables whose value came from a file. */
  readonly fromFiles: ReadonlySet<string>;
  /** One line for each file that can't be used, without its contents. */
  readonly problems: readonly string[];
}

/** Reads the file of each `<VARIABLE>_FILE` into its variable. Line ends at the end of the file are not part of the secret. */
export function readSecrets(given: Values): ReadSecrets {
  const values = { ...given };
  const fromFiles = new Set<string>();
  const problems: string[] = [];
  for (const variable of SECRETS) {
    const path = given[fileOf(variable)];
    if (path === undefined) continue;
    try {
      if (given[variable] !== undefined) throw new Error(`${variable} is set, too: set only one of the two`);
      values[variable] = secretIn(path);
      fromFiles.add(variable);
    } catch (error) {
      // Without the path: a secret may be there by mistake.
      problems.push(problem(fileOf(variable), (error as Error).message));
    }
  }
  return { values, fromFiles, problems };
}

/** The variable that names the file of a secret. */
export function fileOf(variable: string): string {
  return `${variable}_FILE`;
}

/** @throws Error that says what is wrong with the file, without its path and contents */
function secretIn(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw new Error(`expected the path of a readable file (${code})`, { cause: error });
  }
  const secret = text.replace(/[\r\n]+$/, '');
  if (secret === '') throw new Error('the file is empty');
  return secret;
}
