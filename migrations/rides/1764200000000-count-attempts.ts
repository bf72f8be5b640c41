import type { MigrationInterface, QueryRunner } from 'typeorm';

/** How often a driver accepted a transit. */
export class RidesAttempts1764200000000 implements MigrationInterface {
  name = 'RidesAttempts1764200000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE rides_transit ADD COLUMN attempt integer NOT NULL DEFAULT 0');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE rides_transit DROP COLUMN attempt');
  }
}
