import type { MigrationInterface, QueryRunner } from 'typeorm';

const DAY_MS = 86_400_000;

/** The day on which a route was measured, in days since 1970. */
export class GeolocationMeasuredOn1764500000000 implements MigrationInterface {
  name = 'GeolocationMeasuredOn1764500000000';

  async up(runner: QueryRunner): Promise<void> {
    // The default is for older rows, and for processes of the release before. A constant rewrites no row.
    const today = Math.floor(Date.now() / DAY_MS);
    await runner.query(`ALTER TABLE geolocation_route ADD COLUMN measured_on integer NOT NULL DEFAULT ${today}`);
    await runner.query('CREATE INDEX geolocation_route_measured ON geolocation_route (measured_on)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP INDEX geolocation_route_measured');
    await runner.query('ALTER TABLE geolocation_route DROP COLUMN measured_on');
  }
}
