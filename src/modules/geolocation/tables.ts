import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { MigrationHistory } from '../../infrastructure/persistence/migrate.js';
import type { Address } from './contract.js';

@Entity('geolocation_address')
export class KeptAddress {
  @PrimaryColumn('text')
  id: string;
  @Column('integer')
  hash: number;
  @Column('simple-json')
  address: Address;
  @Column('float', { nullable: true })
  latitude: number | null;
  @Column('float', { nullable: true })
  longitude: number | null;
}

/** What was answered for a transit and destination. */
@Entity('geolocation_route')
export class Route {
  @PrimaryColumn('text')
  transitId: string;
  @PrimaryColumn('text')
  addressId: string;
  @Column('integer')
  distanceMetres: number;
}

export const migrations: MigrationHistory['migrations'] = [
  {
    name: 'GeolocationTables1763900000000',
    up: async (runner) => {
      await runner.query(`CREATE TABLE geolocation_address (
        id text PRIMARY KEY, hash integer NOT NULL, address text NOT NULL,
        latitude double precision, longitude double precision
      )`);
      await runner.query(`CREATE TABLE geolocation_route (
        transit_id text NOT NULL, address_id text NOT NULL, distance_metres integer NOT NULL,
        PRIMARY KEY (transit_id, address_id)
      )`);
    },
    down: async (runner) => {
      await runner.query('DROP TABLE geolocation_route');
      await runner.query('DROP TABLE geolocation_address');
    },
  },
];
