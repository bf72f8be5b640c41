import { Column, Entity, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm';
import type { Address } from '../../../src/modules/geolocation/contract.js';
import type { Tariff } from '../../../src/modules/rides/tariff.js';

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
  pickup: Address;
  @Column('text')
  destinationId: string;
  @Column('simple-json')
  destination: Address;
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
