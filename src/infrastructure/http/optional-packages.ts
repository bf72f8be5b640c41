/*
 * Packages that only a broker or tokens need. Applications use them for themselves, too, and npm refuses to install the mesh
 * beside a version that its manifest excludes. So the manifest takes any version, and the one that is there is checked here.
 */

/** Loaded on demand: loading it takes a while, and many processes post nothing. @throws Error when it is too old */
export async function loadUndici(): Promise<typeof import('undici')> {
  return checked(await import('undici'), 'cacheStores', 'A broker needs undici 7 or later: npm i undici@7');
}

/** Loaded on demand: only processes that check tokens need it. @throws Error when it is too old */
export async function loadJose(): Promise<typeof import('jose')> {
  return checked(await import('jose'), 'customFetch', 'Tokens need jose 6 or later: npm i jose@6');
}

/** @throws Error with `needed`, unless the package has what came with the oldest version that will do */
export function checked<T extends object>(found: T, feature: string, needed: string): T {
  if (!(feature in found)) throw new Error(needed);
  return found;
}
