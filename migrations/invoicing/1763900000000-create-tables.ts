import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The invoices, one per transit. */
export class InvoicingTables1763900000000 implements MigrationInterface {
  name = 'InvoicingTables1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE invoicing_invoice (
      id text PRIMARY KEY, transit_id text NOT NULL UNIQUE, amount integer NOT NULL,
      subject_name text NOT NULL, issued_at text NOT NULL
    )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE invoicing_invoice');
  }
}
