import type { ObjectLiteral, Repository } from 'typeorm';

/** Reads the entities of `… RETURNING <columns>`, which TypeORM has no way to write for SQLite. */
export class ReturnedRows<Entity extends ObjectLiteral> {
  constructor(private readonly repository: Repository<Entity>) {}

  get columns(): string {
    const { metadata, manager } = this.repository;
    return metadata.columns.map(({ databaseName }) => manager.connection.driver.escape(databaseName)).join(', ');
  }

  entityOf(raw: Readonly<Record<string, unknown>>): Entity {
    const { metadata, manager } = this.repository;
    const { driver } = manager.connection;
    const entity = this.repository.create();
    for (const column of metadata.columns)
      column.setEntityValue(entity, driver.prepareHydratedValue(raw[column.databaseName], column));
    return entity;
  }
}
