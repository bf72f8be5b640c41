import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The miles that loyalty credited, and the index that the reconcile loop follows. */
export class RidesReconciliation1764000000000 implements MigrationInterface {
  name = 'RidesReconciliation1764000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE rides_transit ADD COLUMN miles integer');
    await runner.query(
      'CREATE INDEX rides_transit_completing ON rides_transit (completing_at, id) WHERE completing_at IS NOT NULL',
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX rides_transit_completing');
    await runner.query('ALTER TABLE rides_transit DROP COLUMN miles');
  }
}
