import { appendFileSync } from 'node:fs';

/** What a user asked for. `accept` and `start` etc. are steps of a transit. */
export type Action =
  'client' | 'account' | 'activated' | 'driver' | 'request' | 'publish' | 'accept' | 'start' | 'cancel' | 'complete';

/** A request that was answered with a success. The databases have to contain its effect from then on. */
export interface Entry {
  readonly action: Action;
  /** The id of the transit, the client or the driver. */
  readonly id: string;
  readonly status: number;
  /** When the first request was sent, and when the success came, in ms since 1970. */
  readonly began: number;
  readonly at: number;
}

/** All accepted requests, in memory and in a file of JSON lines. The rig writes it, and the rig is never killed. */
export class Ledger {
  readonly entries: Entry[] = [];
  /** Answers that a user of a correct application would never get. */
  readonly surprises: string[] = [];

  constructor(private readonly file?: string) {}

  record(action: Action, id: string | number, status: number, began = Date.now()): void {
    const entry = { action, id: String(id), status, began, at: Date.now() };
    this.entries.push(entry);
    if (this.file) appendFileSync(this.file, `${JSON.stringify(entry)}\n`);
  }

  recordSurprise(text: string): void {
    this.surprises.push(text);
  }
}
