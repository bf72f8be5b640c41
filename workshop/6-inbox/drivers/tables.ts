import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { Fee } from '../../../src/modules/drivers/driver.js';

@Entity('drivers_driver')
export class Driver {
  @PrimaryColumn('integer')
  id: number;
  @Column('text')
  firstName: string;
  @Column('text')
  lastName: string;
  @Column('text')
  status: string;
  @Column('simple-json', { nullable: true })
  fee: Fee | null;
  @Column('boolean')
  occupied: boolean;
}
