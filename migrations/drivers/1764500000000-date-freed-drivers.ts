import type { MigrationInterface, QueryRunner } from 'typeorm';

const DAY_MS = 86_400_000;

/** The day on which a driver was freed, in days since 1970. */
export class DriversFreedOn1764500000000 implements MigrationInterface {
  name = 'DriversFreedOn1764500000000';

  async up(runner: QueryRunner): Promise<void> {
    const today = Math.floor(Date.now() / DAY_MS);
    if (runner.dataSource.options.type === 'postgres') {
      // A default gives all existing rows a day without rewriting them.
      await runner.query(`ALTER TABLE drivers_occupancy ADD COLUMN freed_on integer DEFAULT ${today}`);
      await runner.query('ALTER TABLE drivers_occupancy ALTER COLUMN freed_on DROP DEFAULT');
    } else {
      await runner.query('ALTER TABLE drivers_occupancy ADD COLUMN freed_on integer');
      await runner.query(`UPDATE drivers_occupancy SET freed_on = ${today}`);
    }
    await runner.query(`CREATE INDEX drivers_occupancy_freed ON drivers_occupancy (freed_on) WHERE state = 'FREED'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX drivers_occupancy_freed');
    await runner.query('ALTER TABLE drivers_occupancy DROP COLUMN freed_on');
  }
}
