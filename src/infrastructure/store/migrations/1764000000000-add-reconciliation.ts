import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The position and the last run of each module's reconcile loop. */
export class MeshReconciliation1764000000000 implements MigrationInterface {
  name = 'MeshReconciliation1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE mesh_reconciliation (module text PRIMARY KEY, position text, pass text NOT NULL)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE mesh_reconciliation');
  }
}
