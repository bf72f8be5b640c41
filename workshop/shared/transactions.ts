import { AsyncLocalStorage } from 'node:async_hooks';
import { Global, Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { DataSource, type EntityManager, type MixedList } from 'typeorm';
import { SnakeCase } from '../../src/infrastructure/persistence/data-source-options.js';

interface Open {
  readonly manager: EntityManager;
  readonly beforeCommit: (() => Promise<unknown>)[];
  readonly afterCommit: (() => void)[];
}

const current = new AsyncLocalStorage<Open>();

/**
 * Plain transactions on SQLite, as an application has them before it thinks of anything better. One at a time: TypeORM
 * has a single connection for SQLite and makes savepoints of transactions that overlap, so that the rollback of one would
 * take a neighbour's committed work along. A second, read-only connection serves reads.
 */
export class Transactions implements OnApplicationShutdown {
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly writer: DataSource,
    private readonly reader: DataSource,
  ) {}

  /** @param database path of the file, which is there already */
  static async open(database: string, entities: MixedList<new () => object>): Promise<Transactions> {
    const options = { type: 'better-sqlite3', database, entities, namingStrategy: new SnakeCase() } as const;
    const pragmas = (db: { pragma(text: string): unknown }) => {
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = FULL');
    };
    const writer = await new DataSource({ ...options, timeout: 5000, prepareDatabase: pragmas }).initialize();
    return new Transactions(writer, await new DataSource({ ...options, readonly: true }).initialize());
  }

  /** Runs `work` in a transaction, and in the one that is open already if there is one. */
  run<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const open = current.getStore();
    if (open) return work(open.manager);
    const outcome = this.last.then(() => this.transaction(work));
    this.last = outcome.catch(() => undefined);
    return outcome;
  }

  /** Of the open transaction; outside one, for reading only. */
  get manager(): EntityManager {
    return current.getStore()?.manager ?? this.reader.manager;
  }

  /** Adds to the open transaction, which waits for it. @throws Error outside one */
  beforeCommit(callback: () => Promise<unknown>): void {
    const open = current.getStore();
    if (!open) throw new Error('There is no transaction here');
    open.beforeCommit.push(callback);
  }

  /** Calls back when the open transaction has been committed; at once where none is open. */
  afterCommit(callback: () => void): void {
    const open = current.getStore();
    if (open) open.afterCommit.push(callback);
    else callback();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.last;
    await this.reader.destroy();
    await this.writer.destroy();
  }

  private async transaction<T>(work: (manager: EntityManager) => Promise<T>): Promise<T> {
    const beforeCommit: Open['beforeCommit'] = [];
    const afterCommit: Open['afterCommit'] = [];
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

/** Gives everybody `Transactions` on the database that the environment names. */
@Global()
@Module({})
export class DatabaseModule {
  static with(...entities: (new () => object)[]): DynamicModule {
    const transactions = {
      provide: Transactions,
      useFactory: () => Transactions.open(process.env.DATABASE!, entities),
    };
    return { module: DatabaseModule, providers: [transactions], exports: [Transactions] };
  }
}
