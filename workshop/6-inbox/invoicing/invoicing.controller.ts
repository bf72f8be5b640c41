import { Controller, Get, Query } from '@nestjs/common';
import { z } from 'zod';
import { Transactions } from '../../shared/transactions.js';
import { Invoice } from './tables.js';

const ofTransit = z.object({ transitId: z.guid().toLowerCase() });

@Controller('invoices')
export class InvoicingController {
  constructor(private readonly transactions: Transactions) {}

  @Get()
  list(@Query({ schema: ofTransit }) { transitId }: z.infer<typeof ofTransit>): Promise<Invoice[]> {
    return this.transactions.manager.findBy(Invoice, { transitId });
  }
}
