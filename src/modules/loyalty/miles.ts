/** Miles for one transit, regardless of its price and length. */
export const MILES_PER_TRANSIT = 10;
/** Days of 24 h after which miles expire. */
const EXPIRE_AFTER_DAYS = 365;
const DAY_MS = 86_400_000;

/** Miles that were granted together. Times in ms since 1970; `expiresAt` is null when they never expire. */
export interface Grant {
  readonly miles: number;
  readonly grantedAt: number;
  readonly expiresAt: number | null;
}

/** The grant of a client with an active account for a transit at `now` (ms since 1970). */
export function milesForTransit(now: number): Grant {
  return { miles: MILES_PER_TRANSIT, grantedAt: now, expiresAt: now + EXPIRE_AFTER_DAYS * DAY_MS };
}

/** The sum of the miles that never expire, or expire after `now`. */
export function balance(grants: readonly Pick<Grant, 'miles' | 'expiresAt'>[], now: number): number {
  return grants.filter(({ expiresAt }) => lasts(expiresAt, now)).reduce((sum, { miles }) => sum + miles, 0);
}

function lasts(expiresAt: number | null, now: number): boolean {
  return expiresAt === null || expiresAt > now;
}

/** The properties of a client that decide which miles are spent first. */
export interface Spender {
  readonly claims: number;
  readonly transits: number;
  readonly type: 'NORMAL' | 'VIP';
  readonly isSunday: boolean;
}

/** Compares grants by which is spent first. The first rule that matches the client applies. */
export function spendingOrder({ claims, transits, type, isSunday }: Spender): (a: Grant, b: Grant) => number {
  const expiry = ({ expiresAt }: Grant) => expiresAt ?? Infinity;
  const compare = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1);
  if (claims >= 3) return (a, b) => compare(expiry(b), expiry(a));
  if (type === 'VIP' || (transits >= 15 && isSunday)) return (a, b) => compare(expiry(a), expiry(b));
  const byGrant = (a: Grant, b: Grant) => compare(a.grantedAt, b.grantedAt);
  if (transits < 15) return byGrant;
  return (a, b) => compare(Number(a.expiresAt === null), Number(b.expiresAt === null)) || byGrant(a, b);
}

/**
 * Spends miles of an account.
 * @returns the grants in their order with the miles left of each, or undefined when there aren't enough
 */
export function spendMiles<G extends Grant>(
  account: { readonly active: boolean; readonly grants: readonly G[] },
  howMany: number,
  spender: Spender,
  now: number,
): G[] | undefined {
  if (!account.active || balance(account.grants, now) < howMany) return undefined;
  const left = new Map(account.grants.map((grant) => [grant, grant.miles]));
  let missing = howMany;
  for (const grant of account.grants.filter((it) => lasts(it.expiresAt, now)).sort(spendingOrder(spender))) {
    const spent = Math.min(missing, grant.miles);
    left.set(grant, grant.miles - spent);
    missing -= spent;
  }
  return account.grants.map((grant) => ({ ...grant, miles: left.get(grant)! }));
}
