import { appendFileSync } from 'node:fs';

/** What a user may be told to have happened. */
export type Deed =
  'client' | 'account' | 'activated' | 'driver' | 'request' | 'publish' | 'accept' | 'start' | 'complete';

/** A request that was answered with a success: what the application owes from then on. */
export interface Entry {
  readonly deed: Deed;
  /** Of the ride, the client or the driver. */
  readonly id: string;
  readonly status: number;
  /** In ms since 1970. */
  readonly at: number;
}

/** Every accepted request, in memory and in a file of JSON lines. It is written by the rig, which is never killed. */
export class Ledger {
  readonly entries: Entry[] = [];
  /** Rides that users have asked something for, answered or not. */
  readonly asked = new Set<string>();
  /** Answers that no user of an application in order would get. */
  readonly surprises: string[] = [];

  constructor(private readonly file?: string) {}

  note(deed: Deed, id: string | number, status: number): void {
    const entry = { deed, id: String(id), status, at: Date.now() };
    this.entries.push(entry);
    if (this.file) appendFileSync(this.file, `${JSON.stringify(entry)}\n`);
  }

  surprise(text: string): void {
    this.surprises.push(text);
  }
}
