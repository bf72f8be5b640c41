import { Column, Entity, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm';

@Entity('loyalty_account')
export class AwardsAccount {
  @PrimaryColumn('integer')
  clientId: number;
  @Column('boolean')
  active: boolean;
  @Column('integer')
  transactions: number;
}

@Entity('loyalty_miles')
export class AwardedMiles {
  @PrimaryGeneratedColumn('increment')
  id: number;
  @Column('text')
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
