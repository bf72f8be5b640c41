import { problem, type Environment } from './config-schema.js';
import type { Sender } from './infrastructure/broker/senders.js';
import type { TokenOptions } from './infrastructure/mesh-options.js';

/** What a sender delivers to, besides modules. */
const OTHER_SEGMENTS = ['dead-letters', 'flush'];

/**
 * Which tokens the mesh accepts; undefined without an issuer. Adds a line to `problems` for each invalid variable.
 * @param modules the names of all modules of the application
 */
export function readTokenOptions(
  env: Environment,
  modules: readonly string[],
  problems: string[],
): TokenOptions | undefined {
  const { MESH_OIDC_ISSUER: issuer, MESH_OIDC_AUDIENCE: audience, MESH_OIDC_JWKS: jwksUrl } = env;
  const senders = readSenders(env.MESH_OIDC_SUBJECTS ?? [], modules, problems);
  const callers = readCallers(env.MESH_OIDC_CALLERS ?? [], modules, problems);
  if (!issuer || !audience) return undefined;
  const credentialsFile = env.MESH_OIDC_CREDENTIALS_FILE;
  const keys = { ...(jwksUrl && { jwksUrl }), ...(credentialsFile && { credentialsFile }) };
  return { issuer, audience, senders, callers, ...keys };
}

/** `MESH_OIDC_SUBJECTS` is a list of `<subject>`, or `<segment>=<subject>` for one path below /mesh. */
function readSenders(entries: readonly string[], modules: readonly string[], problems: string[]): Sender[] {
  const segments = [...modules, ...OTHER_SEGMENTS];
  return entries.map((entry) => {
    const { name, subject } = split(entry);
    if (name === undefined) return { subject: entry };
    if (!segments.includes(name)) {
      const expected = `expected <subject>, or <path>=<subject> with a path of ${segments.join(', ')}`;
      problems.push(problem('MESH_OIDC_SUBJECTS', expected, entry));
    }
    return { subject, segment: name };
  });
}

/** `MESH_OIDC_CALLERS` is a list of `<module>=<subject>`. */
function readCallers(entries: readonly string[], modules: readonly string[], problems: string[]) {
  const callers: Record<string, string[]> = {};
  for (const entry of entries) {
    const { name, subject } = split(entry);
    if (name !== undefined && modules.includes(name)) {
      (callers[name] ??= []).push(subject);
    } else {
      const expected = `expected <module>=<subject> with a module of ${modules.join(', ')}`;
      problems.push(problem('MESH_OIDC_CALLERS', expected, entry));
    }
  }
  return callers;
}

/** A subject may contain an equals sign, too, so a name is in lower case. */
function split(entry: string): { name?: string; subject: string } {
  const [, name, subject] = /^([a-z][a-z-]*)=(.+)$/.exec(entry) ?? [];
  return name !== undefined && subject !== undefined ? { name, subject } : { subject: entry };
}
