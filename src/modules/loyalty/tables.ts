import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { MigrationHistory } from '../../infrastructure/persistence/migrate.js';

@Entity('loyalty_account')
export class AwardsAccount {
  @PrimaryColumn('integer')
  clientId: number;
  @Column('boolean')
  active: boolean;
  @Column('integer')
  transactions: number;
  @Column('text')
  openedAt: string;
}

/** Miles that were credited for a transit. */
@Entity('loyalty_miles')
export class AwardedMiles {
  @PrimaryColumn('text')
  transitId: string;
  @Column('integer')
  clientId: number;
  @Column('integer')
  miles: number;
  @Column('text')
  grantedAt: string;
  @Column('text', { nullable: true })
  expiresAt: string | null;
}

export const migrations: MigrationHistory['migrations'] = [
  {
    name: 'LoyaltyTables1763900000000',
    up: async (runner) => {
      await runner.query(`CREATE TABLE loyalty_account (
        client_id integer PRIMARY KEY, active boolean NOT NULL, transactions integer NOT NULL, opened_at text NOT NULL
      )`);
      await runner.query(`CREATE TABLE loyalty_miles (
        transit_id text PRIMARY KEY, client_id integer NOT NULL, miles integer NOT NULL,
        granted_at text NOT NULL, expires_at text
      )`);
      await runner.query('CREATE INDEX loyalty_miles_client ON loyalty_miles (client_id)');
    },
    down: async (runner) => {
      await runner.query('DROP TABLE loyalty_miles');
      await runner.query('DROP TABLE loyalty_account');
    },
  },
];
