import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { addressId } from '../../../src/modules/geolocation/contract.js';
import { addressHash } from '../../../src/modules/geolocation/distance.js';
import { Transactions } from '../../shared/transactions.js';
import { SaveAddress } from './contract.js';
import { Address } from './tables.js';

@CommandHandler(SaveAddress)
export class SaveAddressHandler implements ICommandHandler<SaveAddress> {
  constructor(private readonly transactions: Transactions) {}

  async execute({ data: { address } }: SaveAddress): Promise<void> {
    const row = { id: addressId(address), hash: addressHash(address), address, latitude: null, longitude: null };
    await this.transactions.run((manager) =>
      manager.createQueryBuilder().insert().into(Address).values(row).orIgnore().execute(),
    );
  }
}
