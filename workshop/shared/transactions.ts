import { AsyncLocalStorage } from 'node:async_hooks';
import { Global, Module, type BeforeApplicationShutdown, type OnApplicationShutdown } from '@nestjs/common';
import { DataSource, type DataSourceOptions, type EntityManager } from 'typeorm';
import { TransactionQueue } from './transaction-queue.js';

interface OpenTransaction {
  readonly manager: EntityManager;
  readonly beforeCommit: (() => Promise<unknown>)[];
  readonly afterCommit: (() => void)[];
}

const current = new AsyncLocalStorage<OpenTransaction>();

/**
 * Transactions that handlers join without passing an EntityManager along: AsyncLocalStorage carries the open one.
 * Reads outside a transaction use a second, read-only connection, so they never see uncommitted rows.
 */
export class Transactions implements BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly queue = new TransactionQueue();

  private constructor(
    private readonly writer: DataSource,
    private readonly reader: DataSource,
  ) {}

  /** @param writer the data source of `TypeOrmModule.forRoot` */
  static async on(writer: DataSource): Promise<Transactions> {
    const options = { ...writer.options, readonly: true, prepareDatabase: undefined } as DataSourceOptions;
    return new Transactions(writer, await new DataSource(options).initialize());
  }

  /** Runs `work` in the open transaction, or in a new one when none is open. */
  run<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const open = current.getStore();
    return open ? work(open.manager) : this.queue.run(() => this.transaction(work));
  }

  /** The manager of the open transaction; outside a transaction one that can only read. */
  get manager(): EntityManager {
    return current.getStore()?.manager ?? this.reader.manager;
  }

  /** Runs `callback` as the last part of the open transaction. @throws Error outside a transaction */
  beforeCommit(callback: () => Promise<unknown>): void {
    const open = current.getStore();
    if (!open) throw new Error('No transaction is open here: call this inside Transactions.run().');
    open.beforeCommit.push(callback);
  }

  /** Calls back after the commit of the open transaction, or at once when none is open. */
  afterCommit(callback: () => void): void {
    const open = current.getStore();
    if (open) open.afterCommit.push(callback);
    else callback();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.queue.beforeApplicationShutdown();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.reader.destroy();
  }

  private async transaction<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const beforeCommit: OpenTransaction['beforeCommit'] = [];
    const afterCommit: OpenTransaction['afterCommit'] = [];
    const result = await this.writer.transaction((manager) =>
      current.run({ manager, beforeCommit, afterCommit }, async () => {
        const outcome = await work(manager);
        for (const callback of beforeCommit) await callback();
        return outcome;
      }),
    );
    for (const callback of afterCommit) callback();
    return result;
  }
}

/** Makes `Transactions` on the data source of `TypeOrmModule.forRoot` injectable in every module. */
@Global()
@Module({
  providers: [
    { provide: Transactions, inject: [DataSource], useFactory: (writer: DataSource) => Transactions.on(writer) },
  ],
  exports: [Transactions],
})
export class TransactionsModule {}
