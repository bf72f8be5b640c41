import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { In } from 'typeorm';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadStoredRoutes } from './contract.js';
import { KeptAddress, Route } from './tables.js';

@QueryHandler(ReadStoredRoutes)
export class ReadStoredRoutesHandler implements IQueryHandler<ReadStoredRoutes> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { routes } }: ReadStoredRoutes) {
    const transitId = In(routes.map((it) => it.transitId));
    const stored = await this.work.repository(Route).find({ where: { transitId } });
    const ids = routes.flatMap(({ pickupId, destinationId }) => [pickupId, destinationId]);
    const kept = await this.work.repository(KeptAddress).find({ select: { id: true }, where: { id: In(ids) } });
    const keys = new Set(stored.map((it) => `${it.transitId} ${it.addressId}`));
    const addresses = new Set(kept.map(({ id }) => id));
    return routes
      .filter((it) => keys.has(`${it.transitId} ${it.destinationId}`))
      .filter((it) => addresses.has(it.pickupId) && addresses.has(it.destinationId))
      .map((it) => it.transitId);
  }
}
