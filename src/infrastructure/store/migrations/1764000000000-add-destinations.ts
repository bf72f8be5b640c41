import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The address to requeue a broker's dead letter to, and the modules that move between databases. */
export class MeshDestinations1764000000000 implements MigrationInterface {
  name = 'MeshDestinations1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    const time = runner.connection.options.type === 'postgres' ? 'double precision' : 'integer';
    await runner.query('ALTER TABLE mesh_dead_letter ADD COLUMN destination text');
    await runner.query('CREATE INDEX mesh_dead_letter_event ON mesh_dead_letter (event_id)');
    await runner.query(
      `CREATE TABLE mesh_module (name text PRIMARY KEY, state text NOT NULL, place text NOT NULL, since ${time} NOT NULL)`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE mesh_module');
    await runner.query('DROP INDEX mesh_dead_letter_event');
    await runner.query('ALTER TABLE mesh_dead_letter DROP COLUMN destination');
  }
}
