/** Comments, literals and quoted names: what they hold is no statement. */
const QUOTED = /--[^\n]*|\/\*[^]*?\*\/|\bE'(?:[^'\\]|\\[^]|'')*'|'[^']*'|"[^"]*"|\$((?:[a-z_]\w*)?)\$[^]*?\$\1\$/gi;

const CONTROL =
  /^(COMMIT|END|ABORT|BEGIN|START\s+TRANSACTION|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+((WORK|TRANSACTION)\s+)?TO\b))\b/i;

/** The body of a function in SQL holds statements and has an END. */
const FUNCTION_BODY = /\bBEGIN\s+ATOMIC\b/i;

/**
 * Refuses a string of several statements that ends the transaction of its unit, or begins another: before it is sent, because
 * a COMMIT would keep the inbox records of all messages of the transaction, and their effects could be lost.
 * @throws Error
 */
export function assertKeepsTransaction(statements: unknown): void {
  if (typeof statements !== 'string' || !statements.includes(';')) return;
  const bare = statements.replace(QUOTED, ' ');
  const found = bare.split(';').find((it) => CONTROL.test(it.trim()));
  if (found !== undefined && !FUNCTION_BODY.test(bare)) throw new TransactionEnded();
}

export class TransactionEnded extends Error {
  constructor() {
    super('A statement of this unit of work ended its transaction: leave BEGIN, COMMIT and ROLLBACK to the unit');
  }
}
