import { Controller, Get, Param, Query } from '@nestjs/common';
import { z } from 'zod';
import { idParameter } from '../../src/infrastructure/contracts/schemas.js';
import { Transactions } from '../shared/transactions.js';
import { AwardsService } from './awards.service.js';
import { DriverService } from './driver.service.js';
import { Invoice } from './tables.js';

type Id = z.infer<typeof idParameter>;
const ofTransit = z.object({ transitId: z.guid().toLowerCase() });

/** What a ride leaves behind, to look at. */
@Controller()
export class LookupsController {
  constructor(
    private readonly transactions: Transactions,
    private readonly drivers: DriverService,
    private readonly awardsOf: AwardsService,
  ) {}

  @Get('drivers/:id')
  driver(@Param({ schema: idParameter }) { id }: Id) {
    return this.drivers.get(id);
  }

  @Get('clients/:id/awards')
  awards(@Param({ schema: idParameter }) { id: clientId }: Id) {
    return this.awardsOf.read(clientId);
  }

  @Get('invoices')
  invoices(@Query({ schema: ofTransit }) { transitId }: z.infer<typeof ofTransit>) {
    return this.transactions.manager.findBy(Invoice, { transitId });
  }
}
