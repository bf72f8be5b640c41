import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { Address as PostalAddress } from '../../../src/modules/geolocation/contract.js';

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
