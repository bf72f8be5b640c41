import type { DataSource } from 'typeorm';

/** Stands for a number, which TypeORM would write into the text. */
class BoundNumber {
  constructor(readonly value: number) {}
}

/**
 * Lets TypeORM bind numbers as parameters. It writes them into the text of a statement for SQLite, so that each value makes
 * another statement, which SQLite has to compile.
 */
export function bindNumbers({ driver }: DataSource): void {
  const escape = driver.escapeQueryWithParameters.bind(driver) as (
    text: string,
    parameters: Record<string, unknown>,
    ...rest: unknown[]
  ) => [string, unknown[]];
  const bound = (text: string, parameters: Record<string, unknown> = {}, ...rest: unknown[]): [string, unknown[]] => {
    const marked = Object.entries(parameters).map(([name, value]) => [
      name,
      Number.isFinite(value) ? new BoundNumber(value as number) : value,
    ]);
    const [escaped, values] = escape(text, Object.fromEntries(marked) as Record<string, unknown>, ...rest);
    return [escaped, values.map((it) => (it instanceof BoundNumber ? bindable(it.value) : it))];
  };
  Object.assign(driver, { escapeQueryWithParameters: bound });
}

/** better-sqlite3 binds a number as REAL. An integer stays one, as in the text. */
function bindable(value: number): number | bigint {
  return Number.isSafeInteger(value) ? BigInt(value) : value;
}
