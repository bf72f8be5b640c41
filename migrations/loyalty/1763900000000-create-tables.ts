import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Awards accounts, and the miles credited for transits. */
export class LoyaltyTables1763900000000 implements MigrationInterface {
  name = 'LoyaltyTables1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE loyalty_account (
      client_id integer PRIMARY KEY, active boolean NOT NULL, transactions integer NOT NULL, opened_at text NOT NULL
    )`);
    await runner.query(`CREATE TABLE loyalty_miles (
      transit_id text PRIMARY KEY, client_id integer NOT NULL, miles integer NOT NULL,
      granted_at text NOT NULL, expires_at text
    )`);
    await runner.query('CREATE INDEX loyalty_miles_client ON loyalty_miles (client_id)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE loyalty_miles');
    await runner.query('DROP TABLE loyalty_account');
  }
}
