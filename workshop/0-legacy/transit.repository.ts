import { Injectable } from '@nestjs/common';
import { Transactions } from '../shared/transactions.js';
import { Transit } from './tables.js';

@Injectable()
export class TransitRepository {
  constructor(private readonly transactions: Transactions) {}

  find(id: string): Promise<Transit | null> {
    return this.transactions.manager.findOneBy(Transit, { id });
  }

  async save(transit: Transit): Promise<void> {
    await this.transactions.manager.save(transit);
  }
}
