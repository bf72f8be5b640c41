import type { EntityMetadata, ObjectLiteral, Repository } from 'typeorm';
import { ReturnedRows } from './returned-rows.js';

type Row<Entity extends ObjectLiteral> = Parameters<Repository<Entity>['insert']>[0] & object;
type Property<Entity> = keyof Entity & string;

/**
 * Inserts rows, except where one with the same unique key is there already, in one statement: what a handler does that may get
 * a message of another id about the same thing. A row that was there keeps its values; on PostgreSQL its `@UpdateDateColumn` changes
 * and triggers for UPDATE run.
 * @param rows with different keys, which are set in each row
 * @param key the properties of a unique index or the primary key; no relations, and none with `select: false`
 * @returns the row of each key that is there now, in the order of `rows`
 * @throws Error when rows can't be found again by the key, or the database returns it in another form than it was given
 */
export async function insertOnce<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  rows: readonly Row<Entity>[],
  key: readonly Property<Entity>[],
): Promise<Entity[]> {
  const { metadata, manager } = repository;
  const { driver } = manager.connection;
  if (key.length === 0) throw new Error('insertOnce(): the key is empty: name the properties of a unique index');
  const keyColumns = key.map((property) => keyColumnOf(metadata, property));
  if (rows.length === 0) return [];
  for (const row of rows) for (const column of keyColumns) assertSet(row, column, metadata);
  const returned = new ReturnedRows(repository);
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
      throw new Error(
        `insertOnce(): the database returns ${key.join(', ')} of ${metadata.name} in another form: give it as the database does`,
      );
    return entity;
  });
}

type Column = EntityMetadata['columns'][number];

/** The column that a property of the key stands for, which the statement returns. */
function keyColumnOf(metadata: EntityMetadata, property: string): Column {
  const name = `insertOnce(): ${property} of ${metadata.name}`;
  if (metadata.findRelationWithPropertyPath(property))
    throw new Error(`${name} is a relation: declare its column as a property with @Column(), and name that in the key`);
  const column = metadata.findColumnWithPropertyName(property);
  if (!column || column.isVirtualProperty) throw new Error(`insertOnce(): ${metadata.name} has no column ${property}`);
  if (!column.isSelect)
    throw new Error(`${name} has select: false, so rows can't be found by it: name another unique key, or remove that`);
  return column;
}

function assertSet(row: object, column: Column, { name }: EntityMetadata): void {
  const value: unknown = column.getEntityValue(row);
  if (value !== undefined && typeof value !== 'function') return;
  throw new Error(
    `insertOnce(): a row of ${name} has no value for ${column.propertyName}: set it in each row, also where the database would, ` +
      'or name another unique key',
  );
}
