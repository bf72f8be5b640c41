import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadInvoices } from './contract.js';
import { Invoice } from './tables.js';

@QueryHandler(ReadInvoices)
export class ReadInvoicesHandler implements IQueryHandler<ReadInvoices> {
  constructor(private readonly work: UnitOfWork) {}

  execute({ data: { transitId } }: ReadInvoices) {
    return this.work.repository(Invoice).findBy({ transitId });
  }
}
