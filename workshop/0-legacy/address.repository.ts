import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository, type EntityManager } from 'typeorm';
import { addressId, type Address as PostalAddress } from '../../src/modules/geolocation/contract.js';
import { addressHash, type Coordinates } from '../../src/modules/geolocation/distance.js';
import { Address } from './tables.js';

@Injectable()
export class AddressRepository {
  constructor(@InjectRepository(Address) private readonly addresses: Repository<Address>) {}

  /** Saves an address unless it is there already. @returns its id */
  async save(address: PostalAddress, manager: EntityManager): Promise<string> {
    const row = { id: addressId(address), hash: addressHash(address), address, latitude: null, longitude: null };
    await manager.createQueryBuilder().insert().into(Address).values(row).orIgnore().execute();
    return row.id;
  }

  /** @returns undefined when the coordinates of the address are unknown */
  async locate(id: string, manager = this.addresses.manager): Promise<Coordinates | undefined> {
    const found = await manager.findOneBy(Address, { id });
    if (found?.latitude == null || found.longitude === null) return undefined;
    return { latitude: found.latitude, longitude: found.longitude };
  }
}
