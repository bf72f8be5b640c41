import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The status in which the reconcile loop has found all effects of a transit, and an index of the other transits. */
export class RidesWhole1764500000000 implements MigrationInterface {
  name = 'RidesWhole1764500000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`ALTER TABLE rides_transit ADD COLUMN whole_in text NOT NULL DEFAULT ''`);
    await runner.query(
      'CREATE INDEX rides_transit_not_whole ON rides_transit (requested_at, id) WHERE whole_in <> status',
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX rides_transit_not_whole');
    await runner.query('ALTER TABLE rides_transit DROP COLUMN whole_in');
  }
}
