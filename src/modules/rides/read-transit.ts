import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { ListTransits, ReadTransit } from './contract.js';
import { Transits, transitView } from './transits.store.js';
import { Transit } from './tables.js';

@QueryHandler(ReadTransit)
export class ReadTransitHandler implements IQueryHandler<ReadTransit> {
  constructor(private readonly transits: Transits) {}

  async execute({ data: { transitId } }: ReadTransit) {
    const transit = await this.transits.find(transitId);
    return transit && transitView(transit);
  }
}

@QueryHandler(ListTransits)
export class ListTransitsHandler implements IQueryHandler<ListTransits> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { clientId, status, page, size } }: ListTransits) {
    const isNoClient = clientId !== undefined && clientId > MAX_ID;
    const [transits, total] = isNoClient
      ? [[], 0]
      : await this.work.repository(Transit).findAndCount({
          where: { ...(clientId && { clientId }), ...(status && { status }) },
          order: { requestedAt: 'DESC', id: 'ASC' },
          skip: (page - 1) * size,
          take: size,
        });
    return { items: transits.map(transitView), page, size, total };
  }
}
