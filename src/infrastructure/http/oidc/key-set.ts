import { setTimeout as wait } from 'node:timers/promises';

import { createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from 'jose';
import { KeysUnavailable } from '../bearer-tokens.js';
import { isKeyOf } from './key-match.js';
import { isKeyUrl } from './key-url.js';
import { MeshLogger } from '../../observability/mesh-logger.js';

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

/** Keys are fetched again in the background after this time, in ms, … */
const KEYS_AGE_MS = 600_000;
/** … and waited for after this time: until then a withdrawn key is accepted, as long as the issuer can be reached. */
const MAX_KEYS_AGE_MS = 720_000;
/** How long a token waits for keys that are too old, in ms; then they are used. */
const RENEWAL_WAIT_MS = 1000;
/** Shortest time between the end of a fetch and the next one, in ms, also after failures and for tokens with unknown keys. */
const COOLDOWN_MS = 5000;
const TIMEOUT_MS = 5000;
/** Tokens that may wait for a fetch at a time: each is a request that takes up the place of another. */
const MAX_WAITING = 16;
/** Longest key set, and longest discovery document, in bytes. */
const MAX_KEYS_BYTES = 512 * 1024;
/** Interval of log lines, in ms. */
const LOG_MS = 5000;

/**
 * The published keys of an issuer, fetched when they are first needed. A token with an unknown key has them fetched again,
 * at most every 5 s. Until then the key counts as unavailable, not as unknown: the issuer may have published it a moment
 * ago, and a broker doesn't retry a 401. Known keys stay valid while the issuer can't be reached; otherwise a withdrawn one
 * is accepted for 12 minutes at most.
 */
export class KeySet {
  private readonly logger = new MeshLogger(KeySet.name);
  private readonly keys: ReturnType<typeof createRemoteJWKSet>;
  private jwksUrl: string | undefined;
  /** The start of the last fetch, or its end when it failed. These times are on the clock of `performance.now()`. */
  private askedAt: number | undefined;
  private renewedAt: number | undefined;
  private loggedAt = -Infinity;
  private fetches = 0;
  private waiting = 0;

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
    const fetchesBefore = this.fetches;
    const ageMs = performance.now() - (this.renewedAt ?? performance.now());
    if (ageMs > KEYS_AGE_MS) {
      const renewed = this.renew();
      if (ageMs > MAX_KEYS_AGE_MS) await Promise.race([renewed, wait(RENEWAL_WAIT_MS, undefined, { ref: false })]);
    }
    const isKnown = this.keys.jwks()?.keys.some((key) => isKeyOf(header, key));
    if (!isKnown && this.waiting >= MAX_WAITING) throw this.unavailable(new Error('many tokens wait for them'));
    if (!isKnown) this.waiting++;
    try {
      const key = await this.keys(header, token);
      this.renewedAt ??= performance.now();
      return key;
    } catch (error) {
      const isUnknown = error instanceof errors.JWKSNoMatchingKey;
      if ((isUnknown && this.fetches > fetchesBefore) || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
      throw this.unavailable(isUnknown ? new Error('the key of the token was not among them a moment ago') : error);
    } finally {
      if (!isKnown) this.waiting--;
    }
  };

  /** When the keys can't be fetched, the old ones are used. */
  private async renew(): Promise<void> {
    if (this.isCoolingDown) return;
    try {
      await this.keys.reload();
      this.renewedAt = performance.now();
    } catch (error) {
      this.unavailable(error);
    }
  }

  private get isCoolingDown(): boolean {
    return this.askedAt !== undefined && performance.now() - this.askedAt < COOLDOWN_MS;
  }

  private async fetchKeys(signal: AbortSignal): Promise<Response> {
    // jose waits only after a success.
    if (this.isCoolingDown) throw new Error('the last attempt failed less than 5 s ago');
    this.askedAt = performance.now();
    this.fetches++;
    try {
      this.jwksUrl ??= this.source.jwksUrl ?? (await this.discover(signal));
      return await this.get(this.jwksUrl, signal);
    } catch (error) {
      this.askedAt = performance.now();
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
    if (response.status === 200) return limited(response);
    await response.body?.cancel();
    throw new Error(`${url} answered ${response.status}`);
  }

  private unavailable(error: unknown): KeysUnavailable {
    const { message, cause } = error as Error & { cause?: { code?: string } };
    const reason = cause?.code ? `${message} (${cause.code})` : message;
    const waitMs = COOLDOWN_MS - (performance.now() - (this.askedAt ?? -Infinity));
    const retryAfterS = Math.max(1, Math.ceil(waitMs / 1000));
    const unavailable = new KeysUnavailable(
      `The keys of ${this.source.issuer} are not available: ${reason}`,
      retryAfterS,
    );
    // Anyone can send tokens with invented keys.
    if (performance.now() - this.loggedAt > LOG_MS) {
      this.loggedAt = performance.now();
      this.logger.warn({}, unavailable.message);
    }
    return unavailable;
  }
}

/** A response whose body ends with an error after `MAX_KEYS_BYTES`. */
function limited(response: Response): Response {
  let bytes = 0;
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      bytes += chunk.length;
      if (bytes > MAX_KEYS_BYTES) controller.error(new Error(`the answer is longer than ${MAX_KEYS_BYTES} bytes`));
      else controller.enqueue(chunk);
    },
  });
  return new Response(response.body?.pipeThrough(limit), response);
}

function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}
