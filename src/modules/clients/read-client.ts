import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { ReadClient } from './contract.js';
import { Client } from './tables.js';

@QueryHandler(ReadClient)
export class ReadClientHandler implements IQueryHandler<ReadClient> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { clientId } }: ReadClient) {
    if (clientId > MAX_ID) return null;
    return this.work.repository(Client).findOneBy({ id: clientId });
  }
}
