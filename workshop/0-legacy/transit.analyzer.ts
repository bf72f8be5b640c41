import { Injectable } from '@nestjs/common';
import { Transactions } from '../shared/transactions.js';
import { Journey, type Transit } from './tables.js';

/** Knows who travelled from where to where. */
@Injectable()
export class TransitAnalyzer {
  constructor(private readonly transactions: Transactions) {}

  async transitCompleted({ id, clientId, pickupId, destinationId, completedAt }: Transit): Promise<void> {
    const journey = { transitId: id, clientId, fromId: pickupId, toId: destinationId, completedAt: completedAt! };
    await this.transactions.run((manager) => manager.insert(Journey, journey));
  }
}
