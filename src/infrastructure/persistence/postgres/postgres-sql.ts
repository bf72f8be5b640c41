import { createHash } from 'node:crypto';
import type { Sql, SqlValue } from '../sql.js';

interface NamedQuery {
  readonly name: string;
  readonly text: string;
  readonly values: SqlValue[];
}

/** Plain statements as named prepared statements: parsed and planned once per connection. */
export class PostgresSql implements Sql {
  readonly dialect = 'postgres';

  constructor(private readonly query: (query: NamedQuery) => Promise<{ rows: unknown[]; rowCount: number | null }>) {}

  async all<Row>(statement: string, parameters: readonly SqlValue[] = []): Promise<Row[]> {
    return (await this.query(named(statement, parameters))).rows as Row[];
  }

  async run(statement: string, parameters: readonly SqlValue[] = []): Promise<number> {
    return (await this.query(named(statement, parameters))).rowCount ?? 0;
  }
}

const names = new Map<string, string>();

function named(text: string, parameters: readonly SqlValue[]): NamedQuery {
  let name = names.get(text);
  if (!name) names.set(text, (name = `mesh_${createHash('sha1').update(text).digest('hex').slice(0, 20)}`));
  return { name, text, values: [...parameters] };
}
