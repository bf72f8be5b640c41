import { createHash } from 'node:crypto';
import type { Sql, SqlParameter } from '../sql.js';

export interface NamedQuery {
  readonly name: string;
  readonly text: string;
  readonly values: SqlParameter[];
}

/** Plain statements as named prepared statements: parsed and planned once per connection. */
export class PostgresSql implements Sql {
  readonly dialect = 'postgres';

  constructor(private readonly query: (query: NamedQuery) => Promise<{ rows: unknown[]; rowCount: number | null }>) {}

  async all<Row>(statement: string, parameters: readonly SqlParameter[] = []): Promise<Row[]> {
    return (await this.query(named(statement, parameters))).rows as Row[];
  }

  async run(statement: string, parameters: readonly SqlParameter[] = []): Promise<number> {
    return (await this.query(named(statement, parameters))).rowCount ?? 0;
  }
}

const names = new Map<string, string>();

function named(text: string, parameters: readonly SqlParameter[]): NamedQuery {
  let name = names.get(text);
  if (!name) names.set(text, (name = nameOf(text)));
  return { name, text, values: [...parameters] };
}

function nameOf(text: string): string {
  return `mesh_${createHash('sha1').update(text).digest('hex').slice(0, 20)}`;
}

/** A statement gets a name when it comes for so many times: lists of values make many texts that come once. */
const USES_BEFORE_NAME = 4;
const MAX_NAMED = 200;
const MAX_COUNTED = 1000;

/** Statements of other code, which may be of any number: those that come often are prepared. */
export class FrequentStatements {
  private readonly names = new Map<string, string>();
  private readonly uses = new Map<string, number>();

  /** @returns undefined for a statement that isn't prepared */
  named(text: string, values: unknown[]): NamedQuery | undefined {
    let name = this.names.get(text);
    if (!name) {
      if (this.names.size === MAX_NAMED) return undefined;
      const uses = (this.uses.get(text) ?? 0) + 1;
      // Put last: the first of a full map is the one that hasn't come for longest.
      this.uses.delete(text);
      if (uses < USES_BEFORE_NAME) {
        this.uses.set(text, uses);
        if (this.uses.size > MAX_COUNTED) this.uses.delete(this.uses.keys().next().value!);
        return undefined;
      }
      this.names.set(text, (name = nameOf(text)));
    }
    return { name, text, values: values as SqlParameter[] };
  }
}
