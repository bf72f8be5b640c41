import type { ObjectLiteral, Repository } from 'typeorm';

/**
 * Reads the entities of `… RETURNING <columns>`, which TypeORM has no way to write for SQLite: what `find()` reads without
 * relations. Listeners of the entity aren't called.
 */
export class ReturnedRows<Entity extends ObjectLiteral> {
  private readonly read;

  constructor(private readonly repository: Repository<Entity>) {
    // A relation without a property for its column would become an object; a virtual column is none of the table.
    this.read = repository.metadata.columns.filter((it) => it.isSelect && !it.isVirtual && !it.isVirtualProperty);
  }

  get columns(): string {
    const { driver } = this.repository.manager.connection;
    return this.read.map(({ databaseName }) => driver.escape(databaseName)).join(', ');
  }

  entityOf(raw: Readonly<Record<string, unknown>>): Entity {
    const { driver } = this.repository.manager.connection;
    const entity = this.repository.create();
    for (const column of this.read)
      column.setEntityValue(entity, driver.prepareHydratedValue(raw[column.databaseName], column));
    return entity;
  }
}
