import type { MigrationInterface, QueryRunner } from 'typeorm';

const DAY_MS = 86_400_000;

/** The day on which a route was measured, in days since 1970. */
export class GeolocationMeasuredOn1764500000000 implements MigrationInterface {
  name = 'GeolocationMeasuredOn1764500000000';

  async up(runner: QueryRunner): Promise<void> {
    const today = Math.floor(Date.now() / DAY_MS);
    if (runner.dataSource.options.type === 'postgres') {
      // A default gives all existing rows a day without rewriting them.
      await runner.query(`ALTER TABLE geolocation_route ADD COLUMN measured_on integer DEFAULT ${today}`);
      await runner.query('ALTER TABLE geolocation_route ALTER COLUMN measured_on DROP DEFAULT');
    } else {
      await runner.query('ALTER TABLE geolocation_route ADD COLUMN measured_on integer');
      await runner.query(`UPDATE geolocation_route SET measured_on = ${today}`);
    }
    await runner.query('CREATE INDEX geolocation_route_measured ON geolocation_route (measured_on)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX geolocation_route_measured');
    await runner.query('ALTER TABLE geolocation_route DROP COLUMN measured_on');
  }
}
