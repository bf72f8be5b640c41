import type { Database } from 'better-sqlite3';
import { BetterSqlite3 } from '../../tools/better-sqlite3.js';
import { OWNERS, tablesOf, type Owner } from '../shared/schema.js';
import type { Step } from './steps.js';

/** Longest wait for a lock that a process of the step holds, in ms. */
const BUSY_TIMEOUT_MS = 10_000;

/** The databases of a step, opened by the runner to insert fixtures and by the lab to count effects. */
export class StepDatabases {
  private readonly open = new Map<string, Database>();

  constructor(
    readonly step: Pick<Step, 'database' | 'tables'>,
    private readonly pathOf: (name: string) => string,
  ) {}

  of(owner: Owner): Database {
    return this.named(this.step.database(owner));
  }

  named(name: string): Database {
    const path = this.pathOf(name);
    let db = this.open.get(path);
    if (!db) {
      db = new BetterSqlite3(path, { timeout: BUSY_TIMEOUT_MS });
      db.pragma('journal_mode = WAL');
      // For the runner's own writes only; the step's processes use synchronous = FULL.
      db.pragma('synchronous = NORMAL');
      this.open.set(path, db);
    }
    return db;
  }

  /** A text that changes whenever another process commits to one of the open databases. */
  version(): string {
    return [...this.open.values()].map((db) => db.pragma('data_version', { simple: true })).join();
  }

  close(): void {
    for (const db of this.open.values()) db.close();
    this.open.clear();
  }
}

/** Creates the legacy tables. The modules of src/ create their own by migrations. */
export function createLegacyTables(databases: StepDatabases): void {
  for (const owner of OWNERS) {
    for (const statement of tablesOf(owner)) databases.of(owner).exec(statement);
  }
}
