import { Controller, Get, Param } from '@nestjs/common';
import type { z } from 'zod';
import { NotFound } from '../../../src/infrastructure/contracts/domain-errors.js';
import { idParameter } from '../../../src/infrastructure/contracts/schemas.js';
import { Transactions } from '../../shared/transactions.js';
import { Driver } from './tables.js';

@Controller('drivers')
export class DriversController {
  constructor(private readonly transactions: Transactions) {}

  @Get(':id')
  async read(@Param({ schema: idParameter }) { id }: z.infer<typeof idParameter>): Promise<Driver> {
    const driver = await this.transactions.manager.findOneBy(Driver, { id });
    if (!driver) throw new NotFound(`There is no driver ${id}`, 'id');
    return driver;
  }
}
