import { hash } from 'node:crypto';
import { errors, jwtVerify } from 'jose';
import { KeySet, type KeySource } from './key-set.js';
import { KeysUnavailable, Unauthorized } from './unauthorized.js';

/** Whose tokens are taken, and for whom they have to be made out. */
export interface TokenRules extends KeySource {
  /** What the Broker was told as `audience` of the subscriber; one of those of the token has to be it. */
  readonly audience: string;
}

/** Signatures that need a secret to make, and none to check. Neither `none` nor HMAC, which a public key could forge. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'];
/** How far the issuer's clock may be from ours, in seconds. */
const CLOCK_TOLERANCE_S = 5;
/** Longest header that is looked at, in characters. The tokens of Kubernetes have about 1,200. */
const HEADER_LIMIT = 8192;
/** How long a verified token is taken without looking at its signature again, in ms. */
const VERIFIED_MS = 60_000;
/** How many verified tokens are kept. A Broker has one for each of its Triggers. */
const VERIFIED_LIMIT = 1000;

/**
 * Tells whether a request comes from the Broker, by the token that Knative sends along when OIDC is switched on. The
 * Broker sends the same one for up to an hour with every event: one that was verified is taken for a minute by its
 * digest, as a verification costs about 80 µs and a digest 1 µs. It never outlives its expiry there.
 */
export class BrokerTokens {
  private readonly keys: KeySet;
  /** Digest of a verified token, and until when it is taken, in ms since the epoch; the latest last. */
  private readonly verified = new Map<string, number>();

  /** @throws Error when the issuer or the audience is empty, which would be no rule at all; TypeError when a URL is none */
  constructor(private readonly rules: TokenRules) {
    if (!rules.issuer || !rules.audience) throw new Error('Tokens need an issuer and an audience');
    this.keys = new KeySet(rules);
  }

  /**
   * Returns when the value of the Authorization header holds a good token.
   * @throws Unauthorized when it doesn't: the answer is 401
   * @throws KeysUnavailable when nobody can tell, as the keys of the issuer can't be had: the answer is 503
   */
  async verify(authorization: string | undefined): Promise<void> {
    const token = tokenOf(authorization);
    const digest = hash('sha256', token);
    const until = this.verified.get(digest);
    if (until !== undefined && Date.now() < until) return;
    this.verified.delete(digest);
    this.remember(digest, await this.expiryOf(token));
  }

  /** Verifies the token. @returns its expiry, in seconds since the epoch */
  private async expiryOf(token: string): Promise<number> {
    try {
      const { payload } = await jwtVerify(token, this.keys.find, {
        issuer: this.rules.issuer,
        audience: this.rules.audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ['exp'],
      });
      return payload.exp!;
    } catch (error) {
      if (error instanceof KeysUnavailable) throw error;
      // Without a cause: jose's errors carry the claims.
      if (error instanceof errors.JOSEError) throw new Unauthorized(reasonOf(error));
      throw new KeysUnavailable(`A key of ${this.rules.issuer} can't be used: ${(error as Error).message}`);
    }
  }

  private remember(digest: string, expiry: number): void {
    const expiresMs = (expiry + CLOCK_TOLERANCE_S) * 1000;
    this.verified.set(digest, Math.min(expiresMs, Date.now() + VERIFIED_MS));
    if (this.verified.size <= VERIFIED_LIMIT) return;
    const [oldest] = this.verified.keys();
    this.verified.delete(oldest!);
  }
}

/** The compact form of a signed token (RFC 7519), out of `Bearer <token>` (RFC 6750). */
function tokenOf(authorization: string | undefined): string {
  if (!authorization) throw new Unauthorized('no token');
  if (authorization.length > HEADER_LIMIT) throw new Unauthorized('too long');
  const [, token] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  if (!token) throw new Unauthorized('no bearer token');
  const [, signature] = /^[\w-]+\.[\w-]+\.([\w-]*)$/.exec(token) ?? [];
  if (signature === undefined) throw new Unauthorized('not a signed token');
  if (signature === '') throw new Unauthorized('unsigned');
  return token;
}

const CLAIMS: Record<string, string> = {
  iss: 'wrong issuer',
  aud: 'wrong audience',
  exp: 'no expiry',
  nbf: 'not yet valid',
};

function reasonOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) return CLAIMS[error.claim] ?? 'malformed';
  if (error instanceof errors.JWKSNoMatchingKey) return 'unknown key';
  if (error instanceof errors.JWKSMultipleMatchingKeys) return 'ambiguous key';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'algorithm not allowed';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'wrong signature';
  return 'malformed';
}
