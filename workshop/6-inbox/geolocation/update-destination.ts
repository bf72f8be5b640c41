import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import type { EntityManager } from 'typeorm';
import { addressId } from '../../../src/modules/geolocation/contract.js';
import { addressHash, distanceMetres, type Coordinates } from '../../../src/modules/geolocation/distance.js';
import { Transactions } from '../../shared/transactions.js';
import { Messages } from '../messages.js';
import { DestinationUpdated, UpdateDestination } from './contract.js';
import { Address } from './tables.js';

@CommandHandler(UpdateDestination)
export class UpdateDestinationHandler implements ICommandHandler<UpdateDestination> {
  constructor(
    private readonly transactions: Transactions,
    private readonly messages: Messages,
  ) {}

  async execute({ data: { transitId, fromId, destination } }: UpdateDestination): Promise<void> {
    const id = addressId(destination);
    const row = { id, hash: addressHash(destination), address: destination, latitude: null, longitude: null };
    await this.transactions.run(async (manager) => {
      await manager.createQueryBuilder().insert().into(Address).values(row).orIgnore().execute();
      const metres = distanceMetres(await locate(manager, fromId), await locate(manager, id));
      this.messages.publish(new DestinationUpdated({ transitId, distanceMetres: metres }));
    });
  }
}

async function locate(manager: EntityManager, id: string): Promise<Coordinates | undefined> {
  const found = await manager.findOneBy(Address, { id });
  if (found?.latitude == null || found.longitude === null) return undefined;
  return { latitude: found.latitude, longitude: found.longitude };
}
