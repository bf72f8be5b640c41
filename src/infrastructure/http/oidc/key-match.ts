import type { JWK, JWTHeaderParameters } from 'jose';

/** The curves of the algorithms that have one. */
const CURVES: Readonly<Record<string, readonly string[]>> = {
  ES256: ['P-256'],
  ES384: ['P-384'],
  ES512: ['P-521'],
  EdDSA: ['Ed25519'],
  Ed25519: ['Ed25519'],
};
/** By the first letters of an algorithm. */
const KEY_TYPES: Readonly<Record<string, string>> = { RS: 'RSA', PS: 'RSA', ES: 'EC', Ed: 'OKP', ML: 'AKP' };

/** Whether jose may take a key for a token with this header. Otherwise it would have the keys fetched again. */
export function isKeyOf({ kid, alg = '' }: JWTHeaderParameters, key: JWK): boolean {
  return (
    key.kid === kid &&
    key.kty === KEY_TYPES[alg.slice(0, 2)] &&
    (key.alg === undefined || key.alg === alg) &&
    (key.use === undefined || key.use === 'sig') &&
    (key.key_ops === undefined || key.key_ops.includes('verify')) &&
    (CURVES[alg]?.includes(key.crv ?? '') ?? true)
  );
}
