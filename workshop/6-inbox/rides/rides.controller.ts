import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { uuidParameter } from '../../../src/infrastructure/contracts/schemas.js';
import { address } from '../../../src/modules/geolocation/contract.js';
import { Transactions } from '../../shared/transactions.js';
import { CompleteTransit, type TransitView } from './contract.js';
import { Transit } from './tables.js';
import { transitView } from './transit-view.js';

type Id = z.infer<typeof uuidParameter>;

@Controller('transits')
export class RidesController {
  constructor(
    private readonly commands: CommandBus,
    private readonly transactions: Transactions,
  ) {}

  @Post(':id/complete')
  @HttpCode(202)
  complete(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: address }) destination: z.infer<typeof address>,
  ) {
    return this.commands.execute(new CompleteTransit({ transitId: id, destination }));
  }

  @Get(':id')
  async read(@Param({ schema: uuidParameter }) { id }: Id): Promise<TransitView> {
    const transit = await this.transactions.manager.findOneBy(Transit, { id });
    if (!transit) throw new NotFound(`There is no transit ${id}`, 'id');
    return transitView(transit);
  }
}
