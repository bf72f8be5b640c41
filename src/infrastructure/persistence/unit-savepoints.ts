import type { QueryRunner } from 'typeorm';
import { TransactionsOverlap, UnitEnded } from './sql.js';

/** How far a unit has come: how many hooks and items it has of each kind. */
export type UnitPosition = readonly [beforeCommit: number, items: number, afterCommit: number];

/** A unit, as its savepoints see it. */
interface Undoable {
  readonly position: UnitPosition;
  /** Forgets the hooks and items that were added since. */
  returnTo(position: UnitPosition): void;
  end(reason: Error): void;
}

const nameOf = (number: number) => `mesh_${number}`;

/** A transaction of TypeORM inside of a unit. */
interface Savepoint {
  readonly runner: QueryRunner;
  /** As TypeORM names it: several query runners may use the same name. */
  readonly given: string;
  /** Larger than that of those below it. */
  readonly number: number;
  /** What of the unit was there before. */
  readonly before: UnitPosition;
  /** Released, or about to be rolled back. */
  isOver: boolean;
  /** Whether other code of the unit has written since, which a rollback would undo. */
  isShared: boolean;
}

/** Tested for each statement: those below begin with it. */
const CONTROL = /^\s*(?:SAVEP|RELEA|ROLLB)/i;
const SAVEPOINT = /^\s*SAVEPOINT\s+([^\s;]+)[\s;]*$/i;
const RELEASE = /^\s*RELEASE\s+(?:SAVEPOINT\s+)?([^\s;]+)[\s;]*$/i;
const ROLLBACK_TO = /^\s*ROLLBACK\s+(?:(?:WORK|TRANSACTION)\s+)?TO\s+(?:SAVEPOINT\s+)?([^\s;]+)[\s;]*$/i;

/**
 * The transactions of TypeORM inside of one unit. They share its connection, so each is a savepoint inside of the one that
 * was begun before and isn't over. What was written after a savepoint is undone with it, also messages and hooks. Where that
 * would undo what other code has written meanwhile, and was told that it is done, the whole unit fails instead.
 */
export class UnitSavepoints {
  private readonly open: Savepoint[] = [];

  constructor(
    private readonly unit: Undoable,
    /** The query runner of the unit itself; those of an application's data source inherit from it. */
    private readonly own: QueryRunner,
  ) {}

  /** Sends a statement of TypeORM. @throws TransactionsOverlap for a rollback that would undo what others have written */
  async send<T>(runner: QueryRunner, text: string, send: (text: string) => Promise<T>): Promise<T | undefined> {
    if (!CONTROL.test(text)) {
      this.wrote(text, runner);
      return send(text);
    }
    const [, begun] = SAVEPOINT.exec(text) ?? [];
    if (begun) return send(`SAVEPOINT ${this.begin(runner, begun)}`);
    const [, released] = RELEASE.exec(text) ?? [];
    if (released) {
      const name = this.release(this.find(runner, released));
      return name === undefined ? undefined : send(`RELEASE SAVEPOINT ${name}`);
    }
    const [, undone] = ROLLBACK_TO.exec(text) ?? [];
    if (undone) return this.rollBack(this.find(runner, undone), send);
    // A string of several statements, whose savepoints are its own.
    this.wrote(text, runner);
    return send(text);
  }

  /** Notes a statement that isn't one of these. @param runner the unit's own by default */
  wrote(text: string, runner = this.own): void {
    if (this.open.length === 0 || /^\s*SELECT\b/i.test(text)) return;
    for (const it of this.open) {
      // A query runner that inherits from another one works inside of its transaction.
      if (it.runner !== runner && !Object.prototype.isPrototypeOf.call(it.runner, runner)) it.isShared = true;
    }
  }

  private begin(runner: QueryRunner, given: string): string {
    this.wrote('SAVEPOINT', runner);
    const number = (this.open.at(-1)?.number ?? 0) + 1;
    this.open.push({ runner, given, number, before: this.unit.position, isOver: false, isShared: false });
    return nameOf(number);
  }

  /** @throws UnitEnded when there is none of that name */
  private find(runner: QueryRunner, given: string): Savepoint {
    const named = this.open.filter((it) => it.given === given && !it.isOver);
    const found = named.findLast((it) => it.runner === runner) ?? named.at(-1);
    if (!found) throw new UnitEnded(`This unit of work has no savepoint ${given}`);
    return found;
  }

  /** @returns the name to release; undefined while one above it is open, which needs it */
  private release(savepoint: Savepoint): string | undefined {
    savepoint.isOver = true;
    let lowest: Savepoint | undefined;
    while (this.open.at(-1)?.isOver) lowest = this.open.pop();
    return lowest && nameOf(lowest.number);
  }

  private async rollBack<T>(savepoint: Savepoint, send: (text: string) => Promise<T>): Promise<T> {
    savepoint.isOver = true;
    if (savepoint !== this.open.at(-1)) savepoint.isShared = true;
    this.assertUnshared(savepoint);
    this.unit.returnTo(savepoint.before);
    const answer = await send(`ROLLBACK TO SAVEPOINT ${nameOf(savepoint.number)}`);
    // What was sent meanwhile may have come before it.
    this.assertUnshared(savepoint);
    const index = this.open.indexOf(savepoint);
    if (index >= 0) this.open.splice(index, 1);
    return answer;
  }

  private assertUnshared({ isShared }: Savepoint): void {
    if (!isShared) return;
    const error = new TransactionsOverlap();
    this.unit.end(error);
    throw error;
  }
}
