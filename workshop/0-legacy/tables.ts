import { Column, Entity, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm';
import type { Fee } from '../../src/modules/drivers/driver.js';
import type { Address as PostalAddress } from '../../src/modules/geolocation/contract.js';
import type { Tariff } from '../../src/modules/rides/tariff.js';

/* One database, and every service reads and writes all of its tables. Money in cents. */

@Entity('geolocation_address')
export class Address {
  @PrimaryColumn('text')
  id: string;
  @Column('integer')
  hash: number;
  @Column('simple-json')
  address: PostalAddress;
  @Column('float', { nullable: true })
  latitude: number | null;
  @Column('float', { nullable: true })
  longitude: number | null;
}

@Entity('rides_transit')
export class Transit {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  status: string;
  @Column('integer')
  clientId: number;
  @Column('text')
  clientName: string;
  @Column('integer')
  driverId: number;
  @Column('text')
  pickupId: string;
  @Column('simple-json')
  pickup: PostalAddress;
  @Column('text')
  destinationId: string;
  @Column('simple-json')
  destination: PostalAddress;
  @Column('integer')
  distanceMetres: number;
  @Column('simple-json')
  tariff: Tariff;
  @Column('integer', { nullable: true })
  price: number | null;
  @Column('integer', { nullable: true })
  driverFee: number | null;
  @Column('text', { nullable: true })
  startedAt: string | null;
  @Column('text', { nullable: true })
  completedAt: string | null;
}

/** Where a client travelled from and to, for the transit analyzer. */
@Entity('rides_journey')
export class Journey {
  @PrimaryGeneratedColumn('increment')
  id: number;
  @Column('text')
  transitId: string;
  @Column('integer')
  clientId: number;
  @Column('text')
  fromId: string;
  @Column('text')
  toId: string;
  @Column('text')
  completedAt: string;
}

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
