/** The part of a price that the company keeps: a percentage in basis points, or a flat amount in cents. */
export interface Fee {
  readonly type: 'percentage' | 'flat';
  readonly amount: number;
  /** What the driver earns at least, in cents, but never more than the price. */
  readonly min?: number | null;
}

/** Without an agreement the company keeps 2 %. */
const DEFAULT_FEE: Fee = { type: 'percentage', amount: 200 };

/**
 * What a driver earns for a ride, in cents: cut = floor(basis points × price / 10000), or the flat amount;
 * fee = max(price − cut, min(minimum, price), 0).
 */
export function driverFee(fee: Fee | null, price: number): number {
  const { type, amount, min } = fee ?? DEFAULT_FEE;
  const cut = type === 'percentage' ? Number((BigInt(amount) * BigInt(price)) / 10_000n) : amount;
  return Math.max(price - cut, Math.min(min ?? 0, price), 0);
}

/** The rule that a fee violates, and the field. */
export function brokenFeeRule({ type, amount, min }: Fee): { field: string; rule: string } | undefined {
  if (type === 'percentage') {
    return amount > 10_000 ? { field: 'amount', rule: 'a percentage is at most 10000 basis points' } : undefined;
  }
  if (amount === 0) return { field: 'amount', rule: 'a flat fee is more than 0' };
  if ((min ?? 0) > amount) return { field: 'min', rule: 'the minimum of a flat fee is at most its amount' };
  return undefined;
}

/** Five letters or 9s, six digits, two letters or 9s, a digit, two letters; in any case. */
export function isLicenceValid(licence: string): boolean {
  return /^[A-Z9]{5}\d{6}[A-Z9]{2}\d[A-Z]{2}$/i.test(licence);
}
