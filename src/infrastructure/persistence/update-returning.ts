import type { FindOptionsWhere, ObjectLiteral, Repository } from 'typeorm';
import { ReturnedRows } from './returned-rows.js';

type Row = Record<string, unknown>;

/**
 * Updates the rows that match `where`, and reads them, in one statement: a conditional change and what it led to.
 * @returns the rows that were updated, as they are now
 * @throws Error for a condition that is null or undefined, which no row would match: use `IsNull()`
 */
export async function updateReturning<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  where: FindOptionsWhere<Entity>,
  changes: Parameters<Repository<Entity>['update']>[1],
): Promise<Entity[]> {
  const missing = Object.keys(where).find((property) => (where as Row)[property] == null);
  if (missing !== undefined) throw new Error(`updateReturning(): the condition on ${missing} is null or undefined`);
  const returned = new ReturnedRows(repository);
  const update = repository.createQueryBuilder().update().set(changes).where(where);
  const [text, parameters] = update.getQueryAndParameters();
  const answer = await repository.manager.query<Row[] | [Row[], number]>(
    `${text} RETURNING ${returned.columns}`,
    parameters,
  );
  // On PostgreSQL TypeORM answers an UPDATE with its rows and their number.
  const rows = Array.isArray(answer[0]) ? answer[0] : (answer as Row[]);
  return rows.map((raw) => returned.entityOf(raw));
}
