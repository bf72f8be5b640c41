import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { MigrationHistory } from '../../infrastructure/persistence/migrate.js';
import type { Address } from '../geolocation/contract.js';
import type { Tariff } from './tariff.js';
import type { Settled, Status } from './transit.js';

/** A ride, with all that its page and its invoice need: nobody else is asked for them later. Money in cents. */
@Entity('rides_transit')
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
  @Column('text')
  pickupId: string;
  @Column('simple-json')
  pickup: Address;
  /** Where the ride was to go, and from COMPLETED on where it went. */
  @Column('text')
  destinationId: string;
  @Column('simple-json')
  destination: Address;
  /** From pickup to destination. */
  @Column('integer')
  distanceMetres: number;
  /** Where the ride went, from COMPLETING on. */
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
  /** What was credited for it, as loyalty has answered first; null before it has. */
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
}

/** A driver who doesn't want a ride; he isn't asked again. */
@Entity('rides_rejection')
export class Rejection {
  @PrimaryColumn('text')
  transitId: string;
  @PrimaryColumn('integer')
  driverId: number;
}

export const migrations: MigrationHistory['migrations'] = [
  {
    name: 'RidesTables1763900000000',
    up: async (runner) => {
      await runner.query(`CREATE TABLE rides_transit (
        id text PRIMARY KEY, status text NOT NULL,
        client_id integer NOT NULL, client_name text NOT NULL, car_class text NOT NULL, driver_id integer,
        pickup_id text NOT NULL, pickup text NOT NULL, destination_id text NOT NULL, destination text NOT NULL,
        distance_metres integer NOT NULL, reached_id text, reached text,
        tariff text NOT NULL, estimated_price integer NOT NULL, price integer, driver_fee integer,
        requested_at text NOT NULL, published_at text, accepted_at text, started_at text,
        completing_at text, completed_at text, cancelled_at text,
        driver_fee_settled text NOT NULL DEFAULT 'pending', driver_freed_settled text NOT NULL DEFAULT 'pending',
        miles_settled text NOT NULL DEFAULT 'pending', invoice_settled text NOT NULL DEFAULT 'pending'
      )`);
      await runner.query('CREATE INDEX rides_transit_client ON rides_transit (client_id, requested_at)');
      await runner.query('CREATE INDEX rides_transit_status ON rides_transit (status, requested_at)');
      await runner.query('CREATE INDEX rides_transit_requested ON rides_transit (requested_at)');
      await runner.query(`CREATE TABLE rides_rejection (
        transit_id text NOT NULL, driver_id integer NOT NULL, PRIMARY KEY (transit_id, driver_id)
      )`);
    },
    down: async (runner) => {
      await runner.query('DROP TABLE rides_rejection');
      await runner.query('DROP TABLE rides_transit');
    },
  },
  {
    name: 'RidesReconciliation1764000000000',
    up: async (runner) => {
      await runner.query('ALTER TABLE rides_transit ADD COLUMN miles integer');
      // The order of the reconcile loop, which looks at rides that are over only.
      await runner.query(
        'CREATE INDEX rides_transit_completing ON rides_transit (completing_at, id) WHERE completing_at IS NOT NULL',
      );
    },
    down: async (runner) => {
      await runner.query('DROP INDEX rides_transit_completing');
      await runner.query('ALTER TABLE rides_transit DROP COLUMN miles');
    },
  },
];
