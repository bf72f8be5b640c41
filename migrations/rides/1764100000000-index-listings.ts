import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Indexes in the whole order of the listings, so that a page is read without sorting all rides. */
export class RidesListings1764100000000 implements MigrationInterface {
  name = 'RidesListings1764100000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE INDEX rides_transit_latest ON rides_transit (requested_at, id)');
    await runner.query('CREATE INDEX rides_transit_latest_of_client ON rides_transit (client_id, requested_at, id)');
    await runner.query('CREATE INDEX rides_transit_latest_in_status ON rides_transit (status, requested_at, id)');
    await runner.query(
      'CREATE INDEX rides_transit_latest_of_client_in_status ON rides_transit (client_id, status, requested_at, id)',
    );
    await runner.query('DROP INDEX rides_transit_client');
    await runner.query('DROP INDEX rides_transit_status');
    await runner.query('DROP INDEX rides_transit_requested');
    await runner.query('DROP INDEX rides_transit_completing');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE INDEX rides_transit_client ON rides_transit (client_id, requested_at)');
    await runner.query('CREATE INDEX rides_transit_status ON rides_transit (status, requested_at)');
    await runner.query('CREATE INDEX rides_transit_requested ON rides_transit (requested_at)');
    await runner.query(
      'CREATE INDEX rides_transit_completing ON rides_transit (completing_at, id) WHERE completing_at IS NOT NULL',
    );
    await runner.query('DROP INDEX rides_transit_latest_of_client_in_status');
    await runner.query('DROP INDEX rides_transit_latest_in_status');
    await runner.query('DROP INDEX rides_transit_latest_of_client');
    await runner.query('DROP INDEX rides_transit_latest');
  }
}
