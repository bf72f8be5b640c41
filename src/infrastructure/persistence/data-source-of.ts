import type { DataSource, EntityManager, QueryRunner } from 'typeorm';

/** The data source of an entity manager or query runner: TypeORM 0.3 calls it `connection`, 1.x `dataSource`. */
export function dataSourceOf(of: EntityManager | QueryRunner): DataSource {
  const { dataSource, connection } = of as unknown as { dataSource?: DataSource; connection: DataSource };
  return dataSource ?? connection;
}
