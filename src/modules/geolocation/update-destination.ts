import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { today } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { addressId, DestinationUpdated, UpdateDestination, type Address } from './contract.js';
import { addressHash, distanceMetres, type Coordinates } from './distance.js';
import { Geocoder } from './geocoder.js';
import { KeptAddress, Route } from './tables.js';

interface Located {
  readonly from?: Coordinates;
  readonly destination?: Coordinates;
}

@CommandHandler(UpdateDestination)
export class UpdateDestinationHandler implements DurableCommandHandler<UpdateDestination, Located> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly geocoder: Geocoder,
  ) {}

  async prepare({ data: { from, destination } }: UpdateDestination): Promise<Located> {
    return { from: await this.geocoder.locate(from), destination: await this.geocoder.locate(destination) };
  }

  async execute(
    { subject: transitId, data: { from, destination } }: UpdateDestination,
    located: Located,
  ): Promise<void> {
    await this.keep(from, located.from);
    await this.keep(destination, located.destination);
    const routes = this.work.repository(Route);
    const key = { transitId, addressId: addressId(destination) };
    const metres = distanceMetres(located.from, located.destination);
    const measured = { ...key, distanceMetres: metres, measuredOn: today() };
    await routes.createQueryBuilder().insert().values(measured).orIgnore().execute();
    // Answer with the distance that was stored first: the geocoder may have changed since.
    const route = await routes.findOneByOrFail(key);
    this.events.publish(
      new DestinationUpdated(transitId, { addressId: route.addressId, distanceMetres: route.distanceMetres }),
    );
  }

  private async keep(address: Address, at: Coordinates | undefined): Promise<void> {
    const row = {
      id: addressId(address),
      hash: addressHash(address),
      address,
      latitude: at?.latitude ?? null,
      longitude: at?.longitude ?? null,
    };
    await this.work.repository(KeptAddress).createQueryBuilder().insert().values(row).orIgnore().execute();
  }
}
