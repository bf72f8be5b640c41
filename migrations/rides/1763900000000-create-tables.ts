import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Transits, and the drivers who rejected them. */
export class RidesTables1763900000000 implements MigrationInterface {
  name = 'RidesTables1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE rides_transit (
      id text PRIMARY KEY, status text NOT NULL,
      client_id integer NOT NULL, client_name text NOT NULL, car_class text NOT NULL, driver_id integer,
      pickup_id text NOT NULL, pickup text NOT NULL, destination_id text NOT NULL, destination text NOT NULL,
      distance_metres integer NOT NULL, reached_id text, reached text,
      tariff text NOT NULL, estimated_price integer NOT NULL, price integer, driver_fee integer,
      requested_at text NOT NULL, published_at text, accepted_at text, started_at text,
      completing_at text, completed_at text, cancelled_at text,
      driver_fee_settled text NOT NULL DEFAULT 'pending', driver_freed_settled text NOT NULL DEFAULT 'pending',
      miles_settled text NOT NULL DEFAULT 'pending', invoice_settled text NOT NULL DEFAULT 'pending'
    )`);
    await runner.query('CREATE INDEX rides_transit_client ON rides_transit (client_id, requested_at)');
    await runner.query('CREATE INDEX rides_transit_status ON rides_transit (status, requested_at)');
    await runner.query('CREATE INDEX rides_transit_requested ON rides_transit (requested_at)');
    await runner.query(`CREATE TABLE rides_rejection (
      transit_id text NOT NULL, driver_id integer NOT NULL, PRIMARY KEY (transit_id, driver_id)
    )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE rides_rejection');
    await runner.query('DROP TABLE rides_transit');
  }
}
