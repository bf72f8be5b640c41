import { Logger } from '@nestjs/common';
import { createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from 'jose';
import { KeysUnavailable } from '../bearer-tokens.js';
import { isKeyUrl } from './key-url.js';

/** Where an issuer publishes its keys. */
export interface KeySource {
  readonly issuer: string;
  /** URL of the key set (JWKS); by default the issuer's discovery document names it. */
  readonly jwksUrl?: string;
  /**
   * Bearer token for fetching the issuer's JWKS. Kubernetes gives its discovery document and keys only to its own
   * workloads: `new TokenFile('/var/run/secrets/kubernetes.io/serviceaccount/token')`, with NODE_EXTRA_CA_CERTS set to the
   * ca.crt beside it. Use it only with an issuer that may see this token.
   */
  readonly credentials?: { authorization(): Promise<string> };
  /** Longest wait for the keys, in ms; 5 s by default. */
  readonly timeoutMs?: number;
}

/** Keys are fetched again after this time, in ms: until then a withdrawn key is accepted. */
const KEYS_AGE_MS = 600_000;
/** Shortest time between two fetches, in ms, also after failures and for tokens with unknown keys. */
const COOLDOWN_MS = 5000;
const TIMEOUT_MS = 5000;

/**
 * The published keys of an issuer, fetched when they are first needed. A token with an unknown key has them fetched again,
 * at most every 5 s. Until then the key counts as unavailable, not as unknown: the issuer may have published it a moment
 * ago, and a broker doesn't retry a 401. Known keys stay valid while the issuer can't be reached.
 */
export class KeySet {
  private readonly logger = new Logger(KeySet.name);
  private readonly keys: ReturnType<typeof createRemoteJWKSet>;
  private jwksUrl: string | undefined;
  private askedAt: number | undefined;
  private fetches = 0;

  /** @throws TypeError for an invalid URL */
  constructor(private readonly source: KeySource) {
    this.keys = createRemoteJWKSet(new URL(source.jwksUrl ?? discoveryUrl(source.issuer)), {
      // jose would refuse every token when its keys are old and can't be fetched. `find` renews them instead.
      cacheMaxAge: Infinity,
      cooldownDuration: COOLDOWN_MS,
      timeoutDuration: source.timeoutMs ?? TIMEOUT_MS,
      [customFetch]: (_, { signal }) => this.fetchKeys(signal),
    });
  }

  /**
   * The key that a token names in its header.
   * @throws JWKSNoMatchingKey of jose when the issuer, asked after this call, has no key of that name,
   *   JWKSMultipleMatchingKeys when it has several
   * @throws KeysUnavailable when the issuer can't be reached or answers no key set, or may not be asked again yet
   */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    if (this.askedAt !== undefined && performance.now() - this.askedAt > KEYS_AGE_MS) void this.renew();
    const fetchesBefore = this.fetches;
    try {
      return await this.keys(header, token);
    } catch (error) {
      const isUnknown = error instanceof errors.JWKSNoMatchingKey;
      if ((isUnknown && this.fetches > fetchesBefore) || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      throw this.unavailable(isUnknown ? new Error('the key of the token was not among them a moment ago') : error);
    }
  };

  /** Runs in the background: until it is done, the old keys are used. */
  private async renew(): Promise<void> {
    try {
      await this.keys.reload();
    } catch (error) {
      this.logger.warn(this.unavailable(error).message);
    }
  }

  private async fetchKeys(signal: AbortSignal): Promise<Response> {
    // jose waits only after a success.
    if (this.askedAt !== undefined && performance.now() - this.askedAt < COOLDOWN_MS) {
      throw new Error('the last attempt failed less than 5 s ago');
    }
    this.askedAt = performance.now();
    this.fetches++;
    try {
      this.jwksUrl ??= this.source.jwksUrl ?? (await this.discover(signal));
      return await this.get(this.jwksUrl, signal);
    } catch (error) {
      // The key set may have moved: the next attempt reads the discovery document again.
      this.jwksUrl = undefined;
      throw error;
    }
  }

  /** OpenID Connect Discovery 1.0, section 4.3: the document must name the issuer that it was requested from. */
  private async discover(signal: AbortSignal): Promise<string> {
    const url = discoveryUrl(this.source.issuer);
    const response = await this.get(url, signal);
    const { issuer, jwks_uri } = ((await response.json()) ?? {}) as Record<string, unknown>;
    if (issuer !== this.source.issuer) throw new Error(`${url} is the document of another issuer`);
    if (typeof jwks_uri !== 'string' || !URL.canParse(jwks_uri)) throw new Error(`${url} names no key set`);
    if (!isKeyUrl(jwks_uri)) throw new Error(`${url} names the key set ${jwks_uri}, which is not encrypted by https`);
    return jwks_uri;
  }

  private async get(url: string, signal: AbortSignal): Promise<Response> {
    const authorization = await this.source.credentials?.authorization();
    const headers = { accept: 'application/json, application/jwk-set+json', ...(authorization && { authorization }) };
    const response = await fetch(url, { signal, redirect: 'manual', headers });
    if (response.status === 200) return response;
    await response.body?.cancel();
    throw new Error(`${url} answered ${response.status}`);
  }

  private unavailable(error: unknown): KeysUnavailable {
    const { message, cause } = error as Error & { cause?: { code?: string } };
    const reason = cause?.code ? `${message} (${cause.code})` : message;
    const waitMs = COOLDOWN_MS - (performance.now() - (this.askedAt ?? -Infinity));
    const retryAfterS = Math.max(1, Math.ceil(waitMs / 1000));
    return new KeysUnavailable(`The keys of ${this.source.issuer} are not available: ${reason}`, retryAfterS);
  }
}

function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}
