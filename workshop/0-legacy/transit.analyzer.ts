import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { TransactionQueue } from '../shared/transaction-queue.js';
import { Journey, type Transit } from './tables.js';

/** Records who travelled from where to where. */
@Injectable()
export class TransitAnalyzer {
  constructor(
    private readonly queue: TransactionQueue,
    @InjectRepository(Journey) private readonly journeys: Repository<Journey>,
  ) {}

  async transitCompleted({ id, clientId, pickupId, destinationId, completedAt }: Transit): Promise<void> {
    const journey = { transitId: id, clientId, fromId: pickupId, toId: destinationId, completedAt: completedAt! };
    await this.queue.run(() => this.journeys.insert(journey));
  }
}
