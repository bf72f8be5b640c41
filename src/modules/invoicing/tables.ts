import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { MigrationHistory } from '../../infrastructure/persistence/migrate.js';

@Entity('invoicing_invoice')
export class Invoice {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  transitId: string;
  /** Cents. */
  @Column('integer')
  amount: number;
  @Column('text')
  subjectName: string;
  @Column('text')
  issuedAt: string;
}

export const migrations: MigrationHistory['migrations'] = [
  {
    name: 'InvoicingTables1763900000000',
    up: async (runner) => {
      await runner.query(`CREATE TABLE invoicing_invoice (
        id text PRIMARY KEY, transit_id text NOT NULL UNIQUE, amount integer NOT NULL,
        subject_name text NOT NULL, issued_at text NOT NULL
      )`);
    },
    down: async (runner) => {
      await runner.query('DROP TABLE invoicing_invoice');
    },
  },
];
