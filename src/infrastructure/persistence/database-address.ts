const EXPECTED = 'expected sqlite:<path of a file> or postgres://user:password@host:port/database';

/** What is wrong with the address of a database, without the address, which may hold a password; undefined when it can be used. */
export function addressProblem(location: string): string | undefined {
  // SQLite would make a folder "file:" of a URI.
  if (/^sqlite:file:/i.test(location))
    return 'URIs of SQLite (file:) are not supported, expected sqlite:<path of a file>';
  // A database in memory can't be opened twice, and doesn't survive a restart.
  if (/^sqlite:(?!:memory:$).+$/.test(location)) return undefined;
  if (!/^postgres(ql)?:\/\//.test(location)) return EXPECTED;
  const authority = /^[^/]+:\/\/([^/?]*)/.exec(location)![1]!;
  if (authority.slice(authority.lastIndexOf('@') + 1).includes(','))
    return 'expected one host: several are not supported, give the address of a proxy or of the service that knows the primary';
  try {
    const { username, password, pathname } = parseAddress(location);
    [username, password, pathname].forEach(decodeURIComponent);
    return undefined;
  } catch {
    return `${EXPECTED}, with special characters of user and password percent-encoded`;
  }
}

/**
 * The parts of a postgres:// address, as `pg` reads it: behind a user, the host may be empty, such as when the parameter
 * `host` names the folder of a socket. @throws TypeError when it is no URL
 */
export function parseAddress(location: string): URL {
  return new URL(URL.canParse(location) ? location : location.replace('@/', '@localhost/'));
}
