import { Controller, Get, Query } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { z } from 'zod';
import { queryParameters } from '../../infrastructure/contracts/schemas.js';
import { Operation } from '../../infrastructure/http/openapi.js';
import { invoice, ReadInvoices } from './contract.js';

const ofTransit = queryParameters({ transitId: z.guid().toLowerCase() });

@Controller('invoices')
export class InvoicingController {
  constructor(private readonly queries: QueryBus) {}

  @Get()
  @Operation('The invoices of a transit: one, or an empty list before it is issued', {
    body: z.array(invoice),
    also: [400],
  })
  list(@Query({ schema: ofTransit }) { transitId }: z.infer<typeof ofTransit>) {
    return this.queries.execute(new ReadInvoices({ transitId }));
  }
}
