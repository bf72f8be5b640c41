import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { Transactions } from '../../shared/transactions.js';
import { TransitCompleted } from './contract.js';
import { Journey } from './tables.js';

/** Records who travelled from where to where, for the transit analyzer. */
@EventsHandler(TransitCompleted)
export class RecordJourneyOnTransitCompleted implements IEventHandler<TransitCompleted> {
  constructor(private readonly transactions: Transactions) {}

  async handle({ data }: TransitCompleted): Promise<void> {
    await this.transactions.run((manager) => manager.insert(Journey, data));
  }
}
