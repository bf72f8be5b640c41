import type { MigrationInterface, QueryRunner } from 'typeorm';

export class LoyaltyTables1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE loyalty_account (
      client_id integer PRIMARY KEY, active boolean NOT NULL, transactions integer NOT NULL, opened_at text NOT NULL
    )`);
    await runner.query(`CREATE TABLE loyalty_miles (
      transit_id text PRIMARY KEY, client_id integer NOT NULL, miles integer NOT NULL,
      granted_at text NOT NULL, expires_at text
    )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE loyalty_miles');
    await runner.query('DROP TABLE loyalty_account');
  }
}
