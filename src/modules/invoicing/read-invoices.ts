import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { In } from 'typeorm';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadInvoicedTransits, ReadInvoices } from './contract.js';
import { Invoice } from './tables.js';

@QueryHandler(ReadInvoices)
export class ReadInvoicesHandler implements IQueryHandler<ReadInvoices> {
  constructor(private readonly work: UnitOfWork) {}

  execute({ data: { transitId } }: ReadInvoices) {
    return this.work.repository(Invoice).findBy({ transitId });
  }
}

@QueryHandler(ReadInvoicedTransits)
export class ReadInvoicedTransitsHandler implements IQueryHandler<ReadInvoicedTransits> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { transitIds } }: ReadInvoicedTransits) {
    const invoices = await this.work.repository(Invoice).findBy({ transitId: In(transitIds) });
    return invoices.map(({ transitId }) => transitId);
  }
}
