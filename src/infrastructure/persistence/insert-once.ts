import type { ObjectLiteral, Repository } from 'typeorm';
import { ReturnedRows } from './returned-rows.js';

type Row<Entity extends ObjectLiteral> = Parameters<Repository<Entity>['insert']>[0] & object;
type Property<Entity> = keyof Entity & string;

/**
 * Inserts rows, except where one with the same unique key is there already, in one statement: what a handler does that may get
 * a message of another id about the same thing. A row that was there stays as it is.
 * @param rows with different keys
 * @param key the properties of a unique index or the primary key
 * @returns the row of each key that is there now, in the order of `rows`
 */
export async function insertOnce<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  rows: readonly Row<Entity>[],
  key: readonly Property<Entity>[],
): Promise<Entity[]> {
  if (rows.length === 0) return [];
  const { metadata, manager } = repository;
  const returned = new ReturnedRows(repository);
  const keyColumns = key.map((property) => metadata.findColumnWithPropertyName(property)!.databaseName);
  const insertion = repository
    .createQueryBuilder()
    .insert()
    .values([...rows]);
  // An update that changes nothing: only then PostgreSQL and SQLite return the row that was there.
  const [text, parameters] = insertion.orUpdate([keyColumns[0]!], keyColumns).getQueryAndParameters();
  const found = await manager.query<Record<string, unknown>[]>(`${text} RETURNING ${returned.columns}`, parameters);
  const entities = found.map((raw) => returned.entityOf(raw));
  const keyOf = (it: object) => JSON.stringify(key.map((property) => (it as Record<string, unknown>)[property]));
  const byKey = new Map(entities.map((entity) => [keyOf(entity), entity]));
  return rows.map((row) => byKey.get(keyOf(row))!);
}
