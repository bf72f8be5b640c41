import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { distanceMetres, type Coordinates } from '../../../src/modules/geolocation/distance.js';
import { Transactions } from '../../shared/transactions.js';
import { MeasureRoute } from './contract.js';
import { Address } from './tables.js';

@QueryHandler(MeasureRoute)
export class MeasureRouteHandler implements IQueryHandler<MeasureRoute> {
  constructor(private readonly transactions: Transactions) {}

  async execute({ data: { fromId, toId } }: MeasureRoute) {
    return { distanceMetres: distanceMetres(await this.locate(fromId), await this.locate(toId)) };
  }

  private async locate(id: string): Promise<Coordinates | undefined> {
    const found = await this.transactions.manager.findOneBy(Address, { id });
    if (found?.latitude == null || found.longitude === null) return undefined;
    return { latitude: found.latitude, longitude: found.longitude };
  }
}
