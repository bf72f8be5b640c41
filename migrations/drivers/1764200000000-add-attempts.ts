import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The acceptance of the transit that occupied the driver, or was taken back. */
export class DriversAttempts1764200000000 implements MigrationInterface {
  name = 'DriversAttempts1764200000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE drivers_occupancy ADD COLUMN attempt integer');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE drivers_occupancy DROP COLUMN attempt');
  }
}
