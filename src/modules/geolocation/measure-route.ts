import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { MeasureRoute } from './contract.js';
import { distanceMetres } from './distance.js';
import { Geocoder } from './geocoder.js';

@QueryHandler(MeasureRoute)
export class MeasureRouteHandler implements IQueryHandler<MeasureRoute> {
  constructor(private readonly geocoder: Geocoder) {}

  async execute({ data: { from, to } }: MeasureRoute) {
    return { distanceMetres: distanceMetres(await this.geocoder.locate(from), await this.geocoder.locate(to)) };
  }
}
