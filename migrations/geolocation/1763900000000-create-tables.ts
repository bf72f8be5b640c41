import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Addresses, and the routes that were measured for transits. */
export class GeolocationTables1763900000000 implements MigrationInterface {
  name = 'GeolocationTables1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE geolocation_address (
      id text PRIMARY KEY, hash integer NOT NULL, address text NOT NULL,
      latitude double precision, longitude double precision
    )`);
    await runner.query(`CREATE TABLE geolocation_route (
      transit_id text NOT NULL, address_id text NOT NULL, distance_metres integer NOT NULL,
      PRIMARY KEY (transit_id, address_id)
    )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE geolocation_route');
    await runner.query('DROP TABLE geolocation_address');
  }
}
