import { Controller, Get, Param } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { idParameter } from '../../../src/infrastructure/contracts/schemas.js';
import { ReadAwards } from '../../../src/modules/loyalty/contract.js';

@Controller('clients/:id/awards')
export class LoyaltyController {
  constructor(private readonly queries: QueryBus) {}

  @Get()
  async read(@Param({ schema: idParameter }) { id: clientId }: z.infer<typeof idParameter>) {
    const account = await this.queries.execute(new ReadAwards({ clientId }));
    if (!account) throw new NotFound(`Client ${clientId} has no awards account`, 'id');
    return account;
  }
}
