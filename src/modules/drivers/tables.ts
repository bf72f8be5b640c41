import { Column, Entity, Index, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm';
import type { Fee } from './driver.js';

@Entity('drivers_driver')
export class Driver {
  @PrimaryGeneratedColumn('increment')
  id: number;
  @Column('text')
  firstName: string;
  @Column('text')
  lastName: string;
  @Column('text')
  driverLicense: string;
  @Column('text')
  status: 'ACTIVE' | 'INACTIVE';
  @Column('simple-json', { nullable: true })
  fee: Fee | null;
}

/**
 * One row per driver and transit. FREED rows are kept for `REPEAT_GUARD_RETENTION`, so that a late OccupyDriver is ignored:
 * with an attempt those up to it, without one all.
 */
@Entity('drivers_occupancy')
// A driver has at most one open transit.
@Index('drivers_occupancy_open', ['driverId'], { unique: true, where: "state = 'OCCUPIED'" })
@Index('drivers_occupancy_freed', ['freedOn'], { where: "state = 'FREED'" })
export class Occupancy {
  @PrimaryColumn('integer')
  driverId: number;
  @PrimaryColumn('text')
  transitId: string;
  @Column('text')
  state: 'OCCUPIED' | 'FREED';
  @Column('integer', { nullable: true })
  attempt: number | null;
  /** The day on which the driver was freed, in days since 1970. Without one, as in rows of older versions, a row stays. */
  @Column('integer', { nullable: true })
  freedOn?: number | null;
}

/** The fee of a transit, as it was answered first. Cents. */
@Entity('drivers_fee')
export class TransitFee {
  @PrimaryColumn('text')
  transitId: string;
  @Column('integer')
  driverId: number;
  @Column('integer')
  price: number;
  @Column('integer')
  fee: number;
}
