import { Inject } from '@nestjs/common';
import { Command, CommandBus, CommandHandler, QueryBus, type ICommandHandler } from '@nestjs/cqrs';
import { v4 as uuidv4 } from 'uuid';
import { z } from 'zod';
import { ridesConfig, type Settings } from '../../config-namespaces.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { recordId } from '../../infrastructure/contracts/schemas.js';
import { ReadClient } from '../clients/contract.js';
import { address, addressId, MeasureRoute, UpdateDestination } from '../geolocation/contract.js';
import { Transits, transitView, type TransitView } from './transits.store.js';
import { chooseTariff, localTime, priceCents } from './tariff.js';
import { invoiceSubject } from './transit.js';

export const transitRequest = z.object({
  clientId: recordId,
  from: address,
  to: address,
  carClass: z
    .string()
    .toUpperCase()
    .pipe(z.enum(['ECO', 'REGULAR', 'VAN', 'PREMIUM']))
    .default('REGULAR'),
});

/** A client asks for a ride, which becomes a draft with an estimated price. */
export class RequestTransit extends Command<TransitView> {
  constructor(readonly data: z.infer<typeof transitRequest>) {
    super();
  }
}

@CommandHandler(RequestTransit)
export class RequestTransitHandler implements ICommandHandler<RequestTransit> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly clock: Clock,
    @Inject(ridesConfig.KEY) private readonly settings: Settings<typeof ridesConfig>,
  ) {}

  async execute({ data: { clientId, from, to, carClass } }: RequestTransit): Promise<TransitView> {
    const client = await this.queries.execute(new ReadClient({ clientId }));
    if (!client) throw new NotFound(`There is no client ${clientId}`, 'clientId');
    const { distanceMetres } = await this.queries.execute(new MeasureRoute({ from, to }));
    const now = this.clock.now();
    const tariff = chooseTariff(localTime(now, this.settings.tariffTimeZone));
    const id = uuidv4();
    return this.work.run(async () => {
      await this.transits.insert({
        id,
        status: 'DRAFT',
        clientId,
        clientName: invoiceSubject(client),
        carClass,
        pickupId: addressId(from),
        pickup: from,
        destinationId: addressId(to),
        destination: to,
        distanceMetres,
        tariff,
        estimatedPrice: priceCents(distanceMetres, tariff),
        requestedAt: now.toISOString(),
      });
      await this.commands.execute(new UpdateDestination(id, { from, destination: to }));
      return transitView(await this.transits.get(id));
    });
  }
}
