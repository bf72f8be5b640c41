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
