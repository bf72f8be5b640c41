import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { insertOnce } from '../../infrastructure/persistence/insert-once.js';
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
    await this.keep([addressRow(from, located.from), addressRow(destination, located.destination)]);
    const routes = this.work.repository(Route);
    const measured = {
      transitId,
      addressId: addressId(destination),
      distanceMetres: distanceMetres(located.from, located.destination),
      measuredOn: today(),
    };
    // The answer has the distance that was stored first: the geocoder may have changed since.
    for (const route of await insertOnce(routes, [measured], ['transitId', 'addressId'])) {
      const { addressId, distanceMetres } = route;
      this.events.publish(new DestinationUpdated(transitId, { addressId, distanceMetres }));
    }
  }

  private async keep(addresses: readonly KeptAddress[]): Promise<void> {
    // In the same order everywhere, so that no transaction waits for another that waits for it.
    const rows = [...new Map(addresses.map((it) => [it.id, it])).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    await this.work.repository(KeptAddress).createQueryBuilder().insert().values(rows).orIgnore().execute();
  }
}

function addressRow(address: Address, at: Coordinates | undefined): KeptAddress {
  return {
    id: addressId(address),
    hash: addressHash(address),
    address,
    latitude: at?.latitude ?? null,
    longitude: at?.longitude ?? null,
  };
}
