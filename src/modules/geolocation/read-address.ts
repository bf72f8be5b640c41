import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadAddress } from './contract.js';
import { KeptAddress } from './tables.js';

@QueryHandler(ReadAddress)
export class ReadAddressHandler implements IQueryHandler<ReadAddress> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { addressId } }: ReadAddress) {
    const kept = await this.work.repository(KeptAddress).findOneBy({ id: addressId });
    if (!kept) return null;
    const { id, hash, address, latitude, longitude } = kept;
    return { id, ...address, hash, latitude, longitude };
  }
}
