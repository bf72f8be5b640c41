import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('invoicing_invoice')
export class Invoice {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  transitId: string;
  @Column('integer')
  amount: number;
  @Column('text')
  subjectName: string;
  @Column('text')
  issuedAt: string;
}
