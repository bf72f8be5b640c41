import { hash } from 'node:crypto';
import { decodeJwt, errors, jwtVerify, type JWTPayload } from 'jose';
import { KeysUnavailable, Unauthorized, type TokenVerifier } from '../bearer-tokens.js';
import { KeySet, type KeySource } from './key-set.js';

/** Which tokens are accepted. */
export interface TokenRules extends KeySource {
  /** The name of this application for the issuer; a token must have it among its audiences. */
  readonly audience: string;
}

/** Asymmetric signatures only: with HMAC, the public key would be enough to forge a token. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'];
/** The types of tokens that give access: those of OpenID providers and Kubernetes, and of RFC 9068. */
const TYPES = /^(?:application\/)?(?:at\+)?jwt$/i;
/** Largest difference between the issuer's clock and ours, in seconds. */
const CLOCK_TOLERANCE_S = 5;
/** Longest Authorization header, in characters. Tokens of Kubernetes have about 1,200. */
const HEADER_LIMIT = 8192;
/** How long a verified token is accepted without checking its signature again, in ms. */
const VERIFIED_MS = 60_000;
/** Verified tokens that are remembered. A Broker has one for each of its Triggers. */
const VERIFIED_LIMIT = 1000;

/**
 * Verifies the tokens that brokers, other processes and users of REST send. They send the same token for minutes or hours. A
 * verified token is therefore remembered by its digest for a minute, at most until it expires: a verification takes about
 * 80 µs, a digest 1 µs.
 */
export class OidcTokens implements TokenVerifier {
  private readonly keys: KeySet;
  /** By digest: the subjects of verified tokens, and until when they are accepted, in ms since 1970; the latest last. */
  private readonly verified = new Map<string, { readonly subject: string; readonly until: number }>();

  /** @throws Error when the issuer or the audience is empty, TypeError for an invalid URL */
  constructor(private readonly rules: TokenRules) {
    if (!rules.issuer || !rules.audience) throw new Error('Tokens need an issuer and an audience');
    this.keys = new KeySet(rules);
  }

  async verify(authorization: string | undefined): Promise<string> {
    const token = tokenOf(authorization);
    const digest = hash('sha256', token);
    const known = this.verified.get(digest);
    if (known && Date.now() < known.until) return known.subject;
    this.verified.delete(digest);
    const { subject, expiry } = await this.claimsOf(token);
    this.remember(digest, subject, expiry);
    return subject;
  }

  /** Verifies the token. @returns its subject, and its expiry in seconds since the epoch */
  private async claimsOf(token: string): Promise<{ subject: string; expiry: number }> {
    try {
      const { payload, protectedHeader } = await jwtVerify(token, this.keys.find, {
        issuer: this.rules.issuer,
        audience: this.rules.audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ['exp', 'sub'],
      });
      // RFC 8725, section 3.11: a token of another kind, such as logout+jwt, is not meant as a permission.
      if (!TYPES.test(protectedHeader.typ ?? 'JWT')) throw new Unauthorized('not an access token');
      // jose checks that `sub` is there, but not what it is.
      if (typeof payload.sub !== 'string' || payload.sub === '') throw new Unauthorized('no subject');
      return { subject: payload.sub, expiry: payload.exp! };
    } catch (error) {
      if (error instanceof KeysUnavailable) this.assertWorthRetry(token);
      if (error instanceof KeysUnavailable || error instanceof Unauthorized) throw error;
      // No `cause`: errors of jose carry the claims.
      if (error instanceof errors.JOSEError) throw new Unauthorized(reasonOf(error));
      throw new KeysUnavailable(`A key of ${this.rules.issuer} can't be used: ${(error as Error).message}`);
    }
  }

  /** Reads the claims without verifying them. @throws Unauthorized if no key can make the token valid */
  private assertWorthRetry(token: string): void {
    let claims: JWTPayload;
    try {
      claims = decodeJwt(token);
    } catch {
      throw new Unauthorized('malformed');
    }
    if (claims.iss !== this.rules.issuer) throw new Unauthorized(CLAIMS.iss);
  }

  private remember(digest: string, subject: string, expiry: number): void {
    const expiresMs = (expiry + CLOCK_TOLERANCE_S) * 1000;
    this.verified.set(digest, { subject, until: Math.min(expiresMs, Date.now() + VERIFIED_MS) });
    if (this.verified.size <= VERIFIED_LIMIT) return;
    const [oldest] = this.verified.keys();
    this.verified.delete(oldest!);
  }
}

/** The compact form of a signed token (RFC 7519) in `Bearer <token>` (RFC 6750). */
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

const CLAIMS = {
  iss: 'wrong issuer',
  aud: 'wrong audience',
  exp: 'no expiry',
  nbf: 'not yet valid',
  sub: 'no subject',
};

function reasonOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return new Map(Object.entries(CLAIMS)).get(error.claim) ?? 'malformed';
  if (error instanceof errors.JWKSNoMatchingKey) return 'unknown key';
  if (error instanceof errors.JWKSMultipleMatchingKeys) return 'ambiguous key';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'algorithm not allowed';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'wrong signature';
  return 'malformed';
}
