import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('invoicing_invoice')
export class Invoice {
  @PrimaryColumn('text')
  id: string;
  @Column('text', { unique: true })
  transitId: string;
  /** Cents. */
  @Column('integer')
  amount: number;
  @Column('text')
  subjectName: string;
  @Column('text')
  issuedAt: string;
}
