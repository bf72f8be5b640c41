import { AsyncResource } from 'node:async_hooks';

import type { EntityManager, QueryRunner } from 'typeorm';
import { UnitEnded, type Sql } from './sql.js';
import { UnitSavepoints, type UnitPosition } from './unit-savepoints.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** One local transaction, as the code inside it sees it. */
export class Unit {
  private ended?: string | Error;
  private isComplete = false;
  private isRunning = true;
  private readonly beforeCommitHooks: (() => Promise<void>)[] = [];
  private readonly epilogues: [Epilogue<unknown>, unknown][] = [];
  private readonly afterCommitHooks: (() => void)[] = [];
  private opened?: EntityManager;
  private inside?: UnitSavepoints;
  sql: Sql;
  /** Set by the engine: makes an entity manager for the units that use one. */
  openManager: () => EntityManager;

  get manager(): EntityManager {
    return (this.opened ??= this.openManager());
  }

  /** The transactions of TypeORM inside of this unit. */
  get savepoints(): UnitSavepoints {
    return (this.inside ??= new UnitSavepoints(this, this.manager.queryRunner!));
  }

  /** For engines: a plain statement of this unit was sent. */
  wrote(text: string): void {
    this.inside?.wrote(text);
  }

  /** Whether a query runner writes to this unit. */
  owns(runner: QueryRunner | undefined): boolean {
    const own = this.opened?.queryRunner;
    return (
      own !== undefined && (own === runner || Object.prototype.isPrototypeOf.call(own, runner ?? Object.prototype))
    );
  }

  /** Whether it has ended, and so has its work: that may go on after a time-out. */
  get isOver(): boolean {
    return this.ended !== undefined && !this.isRunning;
  }

  /** @throws UnitEnded after the unit has been committed or rolled back */
  assertOpen(): void {
    if (this.ended instanceof Error) throw this.ended;
    if (this.ended) throw new UnitEnded(`${this.ended}: a promise inside it was not awaited`);
  }

  private assertIncomplete(): void {
    this.assertOpen();
    if (this.isComplete)
      throw new UnitEnded('This unit of work is being committed: a promise inside it was not awaited');
  }

  /** Adds a hook that runs inside the transaction, before its commit. */
  beforeCommit(hook: () => Promise<void>): void {
    this.assertIncomplete();
    // The engine calls the hook, but it must run in the async context of this code.
    const context = new AsyncResource('beforeCommit');
    this.beforeCommitHooks.push(() => context.runInAsyncScope(hook));
  }

  /** Adds an item that `epilogue` stores at the end of the transaction. */
  atEnd<Item>(epilogue: Epilogue<Item>, item: Item): void {
    this.assertIncomplete();
    this.epilogues.push([epilogue, item]);
  }

  /** Adds a hook that runs when the commit is on disk; never after a rollback. */
  afterCommit(hook: () => void): void {
    this.assertOpen();
    this.afterCommitHooks.push(hook);
  }

  get position(): UnitPosition {
    return [this.beforeCommitHooks.length, this.epilogues.length, this.afterCommitHooks.length];
  }

  /** Forgets the hooks and items that were added since. */
  returnTo([beforeCommit, items, afterCommit]: UnitPosition): void {
    this.beforeCommitHooks.length = beforeCommit;
    this.epilogues.length = items;
    this.afterCommitHooks.length = afterCommit;
  }

  /** For engines: runs the work and the hooks that belong to the transaction. */
  async complete<T>(work: (unit: Unit) => Promise<T>): Promise<T> {
    let value: T;
    try {
      value = await work(this);
    } finally {
      this.isRunning = false;
    }
    // The loop also reaches hooks that hooks add.
    for (const hook of this.beforeCommitHooks) await hook();
    // What ended it may have been caught.
    this.assertOpen();
    this.isComplete = true;
    return value;
  }

  /** For engines: the items of units that share a transaction, in their order. */
  static epiloguesOf(units: readonly Unit[]): Map<Epilogue<unknown>, unknown[]> {
    const items = new Map<Epilogue<unknown>, unknown[]>();
    for (const [epilogue, item] of [...new Set(units)].flatMap((it) => it.epilogues)) {
      const known = items.get(epilogue);
      if (known) known.push(item);
      else items.set(epilogue, [item]);
    }
    return items;
  }

  /** For engines: runs the hooks that wait for the disk. An error of a hook is logged: the commit stands. */
  committed(): void {
    // Units that ran as one share this: the second has nothing left.
    if (this.epilogues.length > 0) {
      const stored = Unit.epiloguesOf([this]);
      this.epilogues.length = 0;
      for (const [epilogue, items] of stored) attempt(() => epilogue.committed?.(items));
    }
    if (this.afterCommitHooks.length > 0) this.afterCommitHooks.splice(0).forEach(attempt);
  }

  /** For engines: from now on every use of this unit throws, with the error that ended it if there was one. */
  end(reason: string | Error): void {
    this.ended ??= reason;
  }
}

const logger = new MeshLogger('UnitOfWork');

function attempt(hook: () => void): void {
  try {
    hook();
  } catch (error) {
    logger.error({ err: error }, 'A hook failed after its commit');
  }
}

export interface UnitOptions {
  /** The unit handles or moves a message: under load it goes before requests most of the time. */
  readonly isMessage?: boolean;
  /** Where units are committed in groups, this unit runs last of its group and sees what the others wrote. */
  readonly closesGroup?: boolean;
}

/** The last statement of units, which is run once for those that share a transaction. */
export interface Epilogue<Item> {
  /** On PostgreSQL it sends its statements before it waits for anything: the COMMIT is sent right after them. */
  store(sql: Sql, items: readonly Item[]): Promise<void>;
  /** Runs when the commit of a unit is on disk, with its items. */
  committed?(items: readonly Item[]): void;
}

/** The first statement of units, which can be run for several of them at once. */
export interface BatchPrelude<Item, Result> {
  /** Units with the same key may share a transaction. */
  readonly batchKey: string;
  /** @returns a result for each item */
  load(sql: Sql, items: readonly Item[]): Promise<readonly Result[]>;
}

/** Runs units with the same `JointWork` as one unit. */
export interface JointWork {
  /** @returns the value of each unit */
  run(unit: Unit, items: readonly unknown[], results: readonly unknown[]): Promise<readonly unknown[]>;
}

/** Runs units on one kind of database, each in the async context of its caller. */
export interface UnitEngine {
  /** Whether one COMMIT may hold several units. */
  readonly commitsGroups: boolean;
  run<T>(work: (unit: Unit) => Promise<T>, options?: UnitOptions): Promise<T>;
  /** Runs a unit that can be repeated from its beginning when a neighbour in its transaction fails. */
  runInBatch<Item, Result, T>(
    prelude: BatchPrelude<Item, Result>,
    item: Item,
    work: (unit: Unit, result: Result) => Promise<T>,
    joint?: JointWork,
  ): Promise<T>;
}
