import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import { uuidParameter } from '../../src/infrastructure/contracts/schemas.js';
import { address } from '../../src/modules/geolocation/contract.js';
import type { Transit } from './tables.js';
import { TransitRepository } from './transit.repository.js';
import { TransitService } from './transit.service.js';

type Id = z.infer<typeof uuidParameter>;

@Controller('transits')
export class TransitController {
  constructor(
    private readonly service: TransitService,
    private readonly transits: TransitRepository,
  ) {}

  @Post(':id/complete')
  @HttpCode(200)
  async complete(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: address }) reached: z.infer<typeof address>,
  ) {
    return transitView(await this.service.completeTransit(id, reached));
  }

  @Get(':id')
  async read(@Param({ schema: uuidParameter }) { id }: Id) {
    const transit = await this.transits.find(id);
    if (!transit) throw new NotFound(`There is no transit ${id}`, 'id');
    return transitView(transit);
  }
}

/** A ride as it is shown. */
export function transitView({ pickupId, pickup, destinationId, destination, distanceMetres, ...transit }: Transit) {
  const { id, status, clientId, driverId, tariff, startedAt } = transit;
  const { price, driverFee, completedAt } = transit;
  return {
    ...{ id, status, clientId, driverId, from: { id: pickupId, ...pickup }, to: { id: destinationId, ...destination } },
    ...{ distanceKm: distanceMetres / 1000, tariff, startedAt },
    ...(price !== null && { price }),
    ...(driverFee !== null && { driverFee }),
    ...(completedAt !== null && { completedAt }),
  };
}
