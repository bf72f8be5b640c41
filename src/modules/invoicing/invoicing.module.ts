import { Module } from '@nestjs/common';
import { MeshFeature } from '../../infrastructure/contracts/mesh-feature.js';
import * as contract from './contract.js';
import { InvoicingController } from './invoicing.controller.js';
import { IssueInvoiceHandler } from './issue-invoice.js';
import { ReadInvoicedTransitsHandler, ReadInvoicesHandler } from './read-invoices.js';
import { Invoice } from './tables.js';

@MeshFeature({ name: 'invoicing', contract, entities: [Invoice] })
@Module({
  controllers: [InvoicingController],
  providers: [IssueInvoiceHandler, ReadInvoicesHandler, ReadInvoicedTransitsHandler],
})
export class InvoicingModule {}
