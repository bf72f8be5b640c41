import type { EntityMetadata, FindOptionsWhere, ObjectLiteral, Repository } from 'typeorm';
import { ReturnedRows } from './returned-rows.js';

type Row = Record<string, unknown>;

/**
 * Updates the rows that match `where`, and reads them, in one statement: a conditional change and what it led to.
 * @param where the condition, or a list of them, one of which a row has to match
 * @returns the rows that were updated, as they are now
 * @throws Error for a condition that is null or undefined, which no row would match, or empty, which each row would match
 */
export async function updateReturning<Entity extends ObjectLiteral>(
  repository: Repository<Entity>,
  where: FindOptionsWhere<Entity> | FindOptionsWhere<Entity>[],
  changes: Parameters<Repository<Entity>['update']>[1],
): Promise<Entity[]> {
  const conditions: readonly object[] = Array.isArray(where) ? where : [where];
  if (conditions.length === 0) return [];
  const problem = conditions.map((it) => problemOf(it, repository.metadata)).find((it) => it !== undefined);
  if (problem !== undefined) throw new Error(`updateReturning(): the condition ${problem}`);
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

/** What is wrong with a condition, also inside of embedded entities and relations. */
function problemOf(where: object, metadata: EntityMetadata, path = ''): string | undefined {
  const properties = Object.entries(Object(where) as object) as [string, unknown][];
  if (properties.length === 0) return `${path && `on ${path} `}is empty: each row would match`;
  for (const [property, value] of properties) {
    const name = path ? `${path}.${property}` : property;
    if (value === null || value === undefined) return `on ${name} is null or undefined: use IsNull() to find NULL`;
    if (typeof value !== 'object' || '@instanceof' in value) continue;
    const relation = metadata.findRelationWithPropertyPath(name);
    const problem = metadata.findEmbeddedWithPropertyPath(name)
      ? problemOf(value, metadata, name)
      : relation && !isReference(value, relation) && problemOf(value, relation.inverseEntityMetadata);
    if (problem) return relation ? `${problem} (in ${name})` : problem;
  }
  return undefined;
}

/** Whether an entity has what TypeORM compares of a relation; its other properties don't matter. */
function isReference(entity: object, { joinColumns }: EntityMetadata['relations'][number]): boolean {
  return joinColumns.length > 0 && joinColumns.every((it) => it.referencedColumn?.getEntityValue(entity) != null);
}
