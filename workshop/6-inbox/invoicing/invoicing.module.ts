import { Module } from '@nestjs/common';
import { Accounting } from '../../shared/accounting.js';
import { InvoicingController } from './invoicing.controller.js';
import { IssueInvoiceHandler } from './issue-invoice.js';

@Module({ controllers: [InvoicingController], providers: [IssueInvoiceHandler, Accounting] })
export class InvoicingModule {}
