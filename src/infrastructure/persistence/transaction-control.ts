import { UnitEnded, type Dialect } from './sql.js';

const CONTROL =
  /^\s*(COMMIT|END|ABORT|BEGIN|START\s+TRANSACTION|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+((WORK|TRANSACTION)\s+)?TO\b))\b/i;

const COMMENT = /^\s*(?:--|\/\*)/;

/** Comments, literals and quoted names: what they hold is no statement. */
const QUOTED = /--[^\n]*|\/\*[^]*?\*\/|\bE'(?:[^'\\]|\\[^]|'')*'|'[^']*'|"[^"]*"|\$((?:[a-z_]\w*)?)\$[^]*?\$\1\$/gi;

/** The body of a function in SQL holds statements and has an END. */
const FUNCTION_BODY = /\bBEGIN\s+ATOMIC\b/i;

/**
 * Refuses a statement that ends the transaction of its unit, or begins another: before it is sent, because a COMMIT would keep the
 * inbox records of all messages of the transaction, and their effects could be lost.
 * @param text on PostgreSQL also several statements
 * @throws UnitEnded
 */
export function assertKeepsTransaction(text: unknown, dialect: Dialect = 'postgres'): void {
  if (typeof text !== 'string') return;
  // Behind a comment, or behind another statement. This is asked of each statement, so the quick tests come first.
  const mayHide = text.includes(';') || COMMENT.test(text);
  const found = CONTROL.exec(text) ?? (mayHide ? hiddenIn(text, dialect) : undefined);
  if (!found) return;
  throw new UnitEnded(
    `${found[1]!.toUpperCase()} is up to the unit of work: return to commit it, throw to roll it back`,
  );
}

function hiddenIn(text: string, dialect: Dialect): RegExpExecArray | undefined {
  const bare = text.replace(QUOTED, ' ');
  if (FUNCTION_BODY.test(bare)) return undefined;
  // A statement of SQLite may hold others: CREATE TRIGGER … BEGIN …; END.
  const statements = dialect === 'sqlite' ? [bare] : bare.split(';');
  return statements.map((it) => CONTROL.exec(it)).find((it) => it !== null) ?? undefined;
}
