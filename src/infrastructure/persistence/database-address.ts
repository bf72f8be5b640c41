const EXPECTED = 'expected sqlite:<path of a file> or postgres://user:password@host:port/database';

/** What is wrong with the address of a database, without the address, which may hold a password; undefined when it can be used. */
export function addressProblem(location: string): string | undefined {
  // A database in memory can't be opened twice, and doesn't survive a restart.
  if (/^sqlite:(?!:memory:$).+$/.test(location)) return undefined;
  if (!/^postgres(ql)?:\/\//.test(location)) return EXPECTED;
  const authority = /^[^/]+:\/\/([^/?]*)/.exec(location)![1]!;
  if (authority.slice(authority.lastIndexOf('@') + 1).includes(','))
    return 'expected one host: several are not supported, give the address of a proxy or of the service that knows the primary';
  try {
    const { username, password, pathname } = new URL(location);
    [username, password, pathname].forEach(decodeURIComponent);
    return undefined;
  } catch {
    return `${EXPECTED}, with special characters of user and password percent-encoded`;
  }
}
