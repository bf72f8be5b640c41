import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

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
  @Index('loyalty_miles_client')
  @Column('integer')
  clientId: number;
  @Column('integer')
  miles: number;
  @Column('text')
  grantedAt: string;
  @Column('text', { nullable: true })
  expiresAt: string | null;
}
