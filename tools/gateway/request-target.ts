/**
 * Why a request target (RFC 9112, section 3.2) could mean one path to the gateway and another one to a process; undefined if
 * it can't. The gateway routes by the path as it came. The HTTP client resolves dot segments, reads backslashes as slashes,
 * and cuts the path at a hash. A process decodes it.
 */
export function ambiguityOf(target: string): string | undefined {
  if (!target.startsWith('/')) return 'The request target is no path: send one that begins with a slash';
  const [path = ''] = target.split('?', 1);
  if (/[^\x21-\x7e]|#/.test(path)) return 'The path holds characters that a URI has encoded only';
  if (/\\|%5c/i.test(path)) return 'The path holds a backslash';
  if (/%2f/i.test(path)) return 'The path holds an encoded slash';
  if (path.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment))) return 'The path holds a segment . or ..';
  return undefined;
}
