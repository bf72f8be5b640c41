import type { IncomingMessage } from 'node:http';

/* What checks of bearer tokens share. oidc/ has the check itself, so that other processes don't load JOSE. */

/** The injection token of the mesh's `TokenVerifier`; undefined where the mesh needs no tokens. */
export const TOKEN_VERIFIER = Symbol('TOKEN_VERIFIER');

export interface TokenVerifier {
  /**
   * Verifies the value of an Authorization header. @returns the subject (`sub`) of the token
   * @throws Unauthorized if there is no valid token: answer 401
   * @throws KeysUnavailable if the keys of the issuer are not available: answer 503
   */
  verify(authorization: string | undefined): Promise<string>;
}

/** The token is missing or not valid here. The message says why, without any part of the token. */
export class Unauthorized extends Error {
  override readonly name = 'Unauthorized';

  /** @param challenge the value of `WWW-Authenticate` (RFC 6750, section 3) */
  constructor(
    message: string,
    readonly challenge = 'Bearer',
  ) {
    super(message);
  }
}

/** The value of the header Authorization. @throws Unauthorized when there are several: a proxy may have checked another one */
export function authorizationOf({ headersDistinct }: IncomingMessage): string | undefined {
  const { authorization: [first, ...others] = [] } = headersDistinct;
  if (others.length > 0) throw new Unauthorized('Send one header Authorization, not several');
  return first;
}

/** The issuer's keys are not available now, so the token can't be checked: the sender should retry. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable';

  /** @param retryAfterS when a retry may succeed, in seconds */
  constructor(
    message: string,
    readonly retryAfterS = 1,
  ) {
    super(message);
  }
}
