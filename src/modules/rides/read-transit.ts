import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { LessThan, type FindOptionsWhere } from 'typeorm';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID, MAX_TOTAL } from '../../infrastructure/contracts/schemas.js';
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

  async execute({ data: { clientId, status, requestedBefore, page, size } }: ListTransits) {
    if (clientId !== undefined && clientId > MAX_ID) return { items: [], page, size, total: 0 };
    // Columns hold milliseconds, and are compared as text.
    const before = requestedBefore && new Date(requestedBefore).toISOString();
    const where = {
      ...(clientId && { clientId }),
      ...(status && { status }),
      ...(before && { requestedAt: LessThan(before) }),
    };
    const transits = await this.work.repository(Transit).find({
      where,
      order: { requestedAt: 'DESC', id: 'DESC' },
      skip: (page - 1) * size,
      take: size,
    });
    return { items: transits.map(transitView), page, size, total: await this.count(where) };
  }

  /** Counts the rows that match, up to MAX_TOTAL. */
  private async count(where: FindOptionsWhere<Transit>): Promise<number> {
    const transits = this.work.repository(Transit);
    const matching = transits.createQueryBuilder('transit').select('transit.id', 'id').where(where).limit(MAX_TOTAL);
    const counting = transits.manager.createQueryBuilder().select('COUNT(*)', 'n');
    const counted = counting.from(`(${matching.getQuery()})`, 'matching').setParameters(matching.getParameters());
    const row = await counted.getRawOne<{ n: number | string }>();
    return Number(row!.n);
  }
}
