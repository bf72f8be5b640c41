import type { ObjectLiteral, Repository } from 'typeorm';
import { ReturnedRows } from './returned-rows.js';

type Row<Entity extends ObjectLiteral> = Parameters<Repository<Entity>['insert']>[0] & object;
type Property<Entity> = keyof Entity & string;

/**
 * Inserts rows, except where one with the same unique key is there already, in one statement: what a handler does that may get
 * a message of another id about the same thing. A row that was there keeps its values; on PostgreSQL its `@UpdateDateColumn` changes
 * and triggers for UPDATE run.
 * @param rows with different keys
 * @param key the properties of a unique index or the primary key
 * @returns the row of each key that is there now, in the order of `rows`
 * @throws Error when the entity lacks a property of the key, or the database returns the key in another form than it was given
 */
export async function insertOnce<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  rows: readonly Row<Entity>[],
  key: readonly Property<Entity>[],
): Promise<Entity[]> {
  if (rows.length === 0) return [];
  const { metadata, manager } = repository;
  const { driver } = manager.connection;
  const returned = new ReturnedRows(repository);
  const keyColumns = key.map((property) => {
    const column = metadata.findColumnWithPropertyName(property);
    if (!column) throw new Error(`insertOnce(): ${metadata.name} has no column ${property}`);
    return column;
  });
  const names = keyColumns.map(({ databaseName }) => databaseName);
  const insertion = repository
    .createQueryBuilder()
    .insert()
    .values([...rows]);
  // An update that changes nothing: only then PostgreSQL and SQLite return the row that was there.
  const [text, parameters] = insertion.orUpdate([names[0]!], names).getQueryAndParameters();
  const found = await manager.query<Record<string, unknown>[]>(`${text} RETURNING ${returned.columns}`, parameters);
  // A number may be read as text, and a uuid in lower case.
  const keyOf = (row: object) =>
    JSON.stringify(
      keyColumns.map((column) => {
        const value = String(driver.preparePersistentValue(column.getEntityValue(row), column));
        return column.type === 'uuid' ? value.toLowerCase() : value;
      }),
    );
  const byKey = new Map(found.map((raw) => returned.entityOf(raw)).map((entity) => [keyOf(entity), entity]));
  return rows.map((row) => {
    const entity = byKey.get(keyOf(row));
    if (!entity)
      throw new Error(`insertOnce(): the database returns ${key.join(', ')} of ${metadata.name} in another form`);
    return entity;
  });
}
