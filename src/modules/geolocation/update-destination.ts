import { CommandHandler, EventBus } from '@nestjs/cqrs';
import type { CausedBy, DurableCommandBatchHandler } from '../../infrastructure/contracts/batch-handler.js';
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
export class UpdateDestinationHandler implements DurableCommandBatchHandler<UpdateDestination, Located> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly geocoder: Geocoder,
  ) {}

  async prepare({ data: { from, destination } }: UpdateDestination): Promise<Located> {
    return { from: await this.geocoder.locate(from), destination: await this.geocoder.locate(destination) };
  }

  async executeMany(
    commands: readonly UpdateDestination[],
    causedBy: CausedBy<UpdateDestination>,
    located: readonly Located[],
  ): Promise<void> {
    const rows = commands.map(({ data }, index) => ({
      from: addressRow(data.from, located[index]!.from),
      destination: addressRow(data.destination, located[index]!.destination),
    }));
    await this.keep(rows.flatMap(({ from, destination }) => [from, destination]));
    const routes = await this.measure(
      commands.map(({ subject }, index) => ({
        transitId: subject,
        addressId: rows[index]!.destination.id,
        distanceMetres: distanceMetres(located[index]!.from, located[index]!.destination),
        measuredOn: today(),
      })),
    );
    for (const [index, command] of commands.entries()) {
      const { addressId, distanceMetres } = routes[index]!;
      causedBy(
        command,
        () => void this.events.publish(new DestinationUpdated(command.subject, { addressId, distanceMetres })),
      );
    }
  }

  private async keep(addresses: readonly KeptAddress[]): Promise<void> {
    // In the same order everywhere, so that no transaction waits for another that waits for it.
    const rows = [...new Map(addresses.map((it) => [it.id, it])).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    await this.work.repository(KeptAddress).createQueryBuilder().insert().values(rows).orIgnore().execute();
  }

  /** @returns each route as it was stored first: the geocoder may have changed since */
  private measure(routes: readonly Route[]): Promise<Route[]> {
    return insertOnce(this.work.repository(Route), routes, ['transitId', 'addressId']);
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
