import { Controller, Get, Param } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Operation } from '../../infrastructure/http/openapi.js';
import { uuidParameter } from '../../infrastructure/contracts/schemas.js';
import { keptAddress, ReadAddress } from './contract.js';

@Controller('addresses')
export class GeolocationController {
  constructor(private readonly queries: QueryBus) {}

  @Get(':id')
  @Operation('An address at which a ride began or ended', { body: keptAddress, also: [404] })
  async read(@Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>) {
    const address = await this.queries.execute(new ReadAddress({ addressId: id }));
    if (!address) throw new NotFound(`There is no address ${id}`, 'id');
    return address;
  }
}
