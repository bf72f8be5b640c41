import { Injectable, type BeforeApplicationShutdown } from '@nestjs/common';

/**
 * Runs transactions one at a time. TypeORM has a single connection for SQLite and turns transactions that overlap into
 * nested savepoints: the rollback of one would undo the work of another.
 */
@Injectable()
export class TransactionQueue implements BeforeApplicationShutdown {
  private last: Promise<unknown> = Promise.resolve();

  /** Calls `transaction` when all earlier ones have ended. */
  run<T>(transaction: () => Promise<T>): Promise<T> {
    const result = this.last.then(transaction);
    this.last = result.catch(() => undefined);
    return result;
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.last;
  }
}
