import { Injectable } from '@nestjs/common';
import { addressId, type Address as Place } from '../../src/modules/geolocation/contract.js';
import { addressHash, type Coordinates } from '../../src/modules/geolocation/distance.js';
import { Transactions } from '../shared/transactions.js';
import { Address } from './tables.js';

@Injectable()
export class AddressRepository {
  constructor(private readonly transactions: Transactions) {}

  /** Keeps an address, unless it is known. @returns its id */
  async save(address: Place): Promise<string> {
    const row = { id: addressId(address), hash: addressHash(address), address, latitude: null, longitude: null };
    await this.transactions.manager.createQueryBuilder().insert().into(Address).values(row).orIgnore().execute();
    return row.id;
  }

  /** @returns undefined where nobody has told the coordinates */
  async locate(id: string): Promise<Coordinates | undefined> {
    const found = await this.transactions.manager.findOneBy(Address, { id });
    if (found?.latitude == null || found.longitude === null) return undefined;
    return { latitude: found.latitude, longitude: found.longitude };
  }
}
