import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { Address } from './contract.js';

@Entity('geolocation_address')
export class KeptAddress {
  @PrimaryColumn('text')
  id: string;
  @Column('integer')
  hash: number;
  @Column('simple-json')
  address: Address;
  @Column('double precision', { nullable: true })
  latitude: number | null;
  @Column('double precision', { nullable: true })
  longitude: number | null;
}

/** The first answer for a transit and destination, kept for `REPEAT_GUARD_RETENTION`. */
@Entity('geolocation_route')
@Index('geolocation_route_measured', ['measuredOn'])
export class Route {
  @PrimaryColumn('text')
  transitId: string;
  @PrimaryColumn('text')
  addressId: string;
  @Column('integer')
  distanceMetres: number;
  /** In days since 1970. Without a day, as in rows of older versions, a row stays. */
  @Column('integer', { nullable: true })
  measuredOn: number | null;
}
