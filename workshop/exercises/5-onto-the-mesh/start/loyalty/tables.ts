import { Column, Entity, PrimaryColumn } from 'typeorm';

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

/** The statements that create these tables. */
export const TABLES = [
  `CREATE TABLE loyalty_account (
    client_id integer PRIMARY KEY, active boolean NOT NULL, transactions integer NOT NULL, opened_at text NOT NULL
  )`,
  `CREATE TABLE loyalty_miles (
    transit_id text PRIMARY KEY, client_id integer NOT NULL, miles integer NOT NULL,
    granted_at text NOT NULL, expires_at text
  )`,
];
