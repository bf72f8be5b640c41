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
    const addresses = commands.flatMap(({ data: { from, destination } }, index) => [
      addressRow(from, located[index]!.from),
      addressRow(destination, located[index]!.destination),
    ]);
    await this.keep(addresses);
    const routes = await this.measure(commands, located);
    for (const command of commands) {
      const { addressId, distanceMetres } = routes.get(routeKey(command))!;
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

  /** @returns the routes as they were stored first: the geocoder may have changed since */
  private async measure(
    commands: readonly UpdateDestination[],
    located: readonly Located[],
  ): Promise<Map<string, Route>> {
    const measured = new Map(
      commands.map((command, index): [string, Route] => [
        routeKey(command),
        {
          transitId: command.subject,
          addressId: addressId(command.data.destination),
          distanceMetres: distanceMetres(located[index]!.from, located[index]!.destination),
          measuredOn: today(),
        },
      ]),
    );
    const stored = await insertOnce(this.work.repository(Route), [...measured.values()], ['transitId', 'addressId']);
    return new Map([...measured.keys()].map((key, index) => [key, stored[index]!]));
  }
}

function routeKey({ subject, data: { destination } }: UpdateDestination): string {
  return `${subject} ${addressId(destination)}`;
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
