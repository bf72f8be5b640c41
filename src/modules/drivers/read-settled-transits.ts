import { QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { In } from 'typeorm';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { ReadSettledTransits } from './contract.js';
import { Occupancy, TransitFee } from './tables.js';

@QueryHandler(ReadSettledTransits)
export class ReadSettledTransitsHandler implements IQueryHandler<ReadSettledTransits> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { transits } }: ReadSettledTransits) {
    const transitId = In(transits.map((it) => it.transitId));
    const fees = await this.work.repository(TransitFee).findBy({ transitId });
    const driverId = In(transits.map((it) => it.driverId));
    const occupancies = await this.work.repository(Occupancy).findBy({ driverId, transitId });
    const feeOf = new Map(fees.map((it) => [it.transitId, it.fee]));
    const stateOf = new Map(occupancies.map((it) => [`${it.driverId} ${it.transitId}`, it.state]));
    return transits.map((it) => ({
      transitId: it.transitId,
      fee: feeOf.get(it.transitId) ?? null,
      isFree: stateOf.get(`${it.driverId} ${it.transitId}`) === 'FREED',
      isOccupied: stateOf.get(`${it.driverId} ${it.transitId}`) === 'OCCUPIED',
    }));
  }
}
