import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { Address } from '../geolocation/contract.js';
import type { Tariff } from './tariff.js';
import type { Settled, Status } from './transit.js';

/** A transit with copies of all that its page and its invoice show, so that neither needs a query to another module. Money in cents. */
@Entity('rides_transit')
// The order of listings and of the reconcile loop. The databases read an index in both directions.
@Index('rides_transit_not_whole', ['requestedAt', 'id'], { where: 'whole_in <> status' })
@Index('rides_transit_latest', ['requestedAt', 'id'])
@Index('rides_transit_latest_of_client', ['clientId', 'requestedAt', 'id'])
@Index('rides_transit_latest_in_status', ['status', 'requestedAt', 'id'])
@Index('rides_transit_latest_of_client_in_status', ['clientId', 'status', 'requestedAt', 'id'])
export class Transit {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  status: Status;
  @Column('integer')
  clientId: number;
  @Column('text')
  clientName: string;
  @Column('text')
  carClass: string;
  @Column('integer', { nullable: true })
  driverId: number | null;
  /** How often a driver accepted the transit. */
  @Column('integer', { default: 0 })
  attempt: number;
  @Column('text')
  pickupId: string;
  @Column('simple-json')
  pickup: Address;
  /** The planned destination; from COMPLETED on, the one that was reached. */
  @Column('text')
  destinationId: string;
  @Column('simple-json')
  destination: Address;
  /** From pickup to destination. */
  @Column('integer')
  distanceMetres: number;
  /** The destination that was reached; set from COMPLETING on. */
  @Column('text', { nullable: true })
  reachedId: string | null;
  @Column('simple-json', { nullable: true })
  reached: Address | null;
  @Column('simple-json')
  tariff: Tariff;
  @Column('integer')
  estimatedPrice: number;
  @Column('integer', { nullable: true })
  price: number | null;
  @Column('integer', { nullable: true })
  driverFee: number | null;
  @Column('text')
  requestedAt: string;
  @Column('text', { nullable: true })
  publishedAt: string | null;
  /** When the driver accepted; from TRANSIT_TO_PASSENGER on, when they were confirmed. */
  @Column('text', { nullable: true })
  acceptedAt: string | null;
  @Column('text', { nullable: true })
  startedAt: string | null;
  @Column('text', { nullable: true })
  completingAt: string | null;
  @Column('text', { nullable: true })
  completedAt: string | null;
  @Column('text', { nullable: true })
  cancelledAt: string | null;
  /** The miles of loyalty's first answer; null before it. */
  @Column('integer', { nullable: true })
  miles: number | null;
  @Column('text', { default: 'pending' })
  driverFeeSettled: Settled;
  @Column('text', { default: 'pending' })
  driverFreedSettled: Settled;
  @Column('text', { default: 'pending' })
  milesSettled: Settled;
  @Column('text', { default: 'pending' })
  invoiceSettled: Settled;
  /** The status in which the reconcile loop has found all effects: it need not look again until the status changes. */
  @Column('text', { default: '' })
  wholeIn: Status | '';
}

/** A driver who rejected a transit, and can't accept it any more. */
@Entity('rides_rejection')
export class Rejection {
  @PrimaryColumn('text')
  transitId: string;
  @PrimaryColumn('integer')
  driverId: number;
}
