import { AsyncResource } from 'node:async_hooks';
import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { UnitEnded, type Sql } from './sql.js';

/** One local transaction, as the code inside it sees it. */
export class Unit {
  private static readonly logger = new Logger('UnitOfWork');
  private over?: string | Error;
  private isComplete = false;
  private readonly onCommitting: (() => Promise<void>)[] = [];
  private readonly onCommitted: (() => void)[] = [];
  private opened?: EntityManager;
  sql: Sql;
  /** For the engines: how to get an entity manager, for those units that want one. */
  openManager: () => EntityManager;

  get manager(): EntityManager {
    return (this.opened ??= this.openManager());
  }

  /** @throws UnitEnded after the unit has been committed or rolled back */
  assertOpen(): void {
    if (this.over instanceof Error) throw this.over;
    if (this.over) throw new UnitEnded(`${this.over}; a promise of it was not awaited`);
  }

  /** Runs before the commit, inside the transaction. */
  beforeCommit(hook: () => Promise<void>): void {
    this.assertOpen();
    if (this.isComplete) throw new UnitEnded('This unit of work is being committed; a promise of it was not awaited');
    // Run by the engine, and yet code of this unit and of this journey.
    const place = new AsyncResource('beforeCommit');
    this.onCommitting.push(() => place.runInAsyncScope(hook));
  }

  /** Runs once the commit is on disk; never after a rollback. */
  afterCommit(hook: () => void): void {
    this.assertOpen();
    this.onCommitted.push(hook);
  }

  /** For the engines: runs the work, and the hooks that still belong to the transaction. */
  async complete<T>(work: (unit: Unit) => Promise<T>): Promise<T> {
    const value = await work(this);
    // Hooks may add hooks.
    for (const hook of this.onCommitting) await hook();
    this.isComplete = true;
    return value;
  }

  /** For the engines: runs the hooks that had to wait for the disk. One that throws changes nothing: it is committed. */
  committed(): void {
    for (const hook of this.onCommitted) {
      try {
        hook();
      } catch (error) {
        Unit.logger.error({ err: error }, 'A hook failed after its commit');
      }
    }
  }

  /** For the engines: from now on every use of this unit throws, with the error that ended it if there was one. */
  end(reason: string | Error): void {
    this.over ??= reason;
  }
}

export interface UnitOptions {
  /** The unit handles a message or moves one: under load it goes before requests, most of the time. */
  readonly isMessage?: boolean;
  /** The unit runs last of its group, where units are committed in groups, and sees what the others wrote. */
  readonly closesGroup?: boolean;
}

/** A question that units begin with, and that may be asked for several of them at once. */
export interface BatchPrelude<Item, Answer> {
  /** Units of a lane may share a transaction. */
  readonly batchKey: string;
  /** @returns an answer for each */
  load(sql: Sql, items: readonly Item[]): Promise<readonly Answer[]>;
}

/** How a database runs one unit; it binds the work to its caller's async context. */
export interface UnitEngine {
  /** Whether one COMMIT may hold several units. */
  readonly commitsGroups: boolean;
  run<T>(work: (unit: Unit) => Promise<T>, options?: UnitOptions): Promise<T>;
  /** Runs a unit that may be run again from its beginning, should a neighbour in its transaction fail. */
  runInBatch<Item, Answer, T>(
    opening: BatchPrelude<Item, Answer>,
    item: Item,
    work: (unit: Unit, answer: Answer) => Promise<T>,
  ): Promise<T>;
}
