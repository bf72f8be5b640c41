import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { uuidParameter } from '../../src/infrastructure/contracts/schemas.js';
import { address } from '../../src/modules/geolocation/contract.js';
import type { Transit } from './tables.js';
import { TransitService } from './transit.service.js';

type Id = z.infer<typeof uuidParameter>;

@Controller('transits')
export class TransitController {
  constructor(private readonly transits: TransitService) {}

  @Post(':id/complete')
  @HttpCode(200)
  async complete(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: address }) reached: z.infer<typeof address>,
  ) {
    return transitView(await this.transits.completeTransit(id, reached));
  }

  @Get(':id')
  async read(@Param({ schema: uuidParameter }) { id }: Id) {
    return transitView(await this.transits.find(id));
  }
}

/** A ride as the API shows it. */
export function transitView(transit: Transit) {
  const { id, status, clientId, driverId, tariff, startedAt, price, driverFee, completedAt } = transit;
  return {
    id,
    status,
    clientId,
    driverId,
    from: { id: transit.pickupId, ...transit.pickup },
    to: { id: transit.destinationId, ...transit.destination },
    distanceKm: transit.distanceMetres / 1000,
    tariff,
    startedAt,
    ...(price !== null && { price }),
    ...(driverFee !== null && { driverFee }),
    ...(completedAt !== null && { completedAt }),
  };
}
