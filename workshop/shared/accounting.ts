import { Injectable } from '@nestjs/common';

/** The key of a function that the lab sets in the processes that it starts (lab/agent.mjs). */
const LAB = Symbol.for('workshop.accounting');

/**
 * A client of accounting, an external system that is sometimes slow and sometimes down. Every invoice is reported to
 * it. Without the lab, the report succeeds at once.
 */
@Injectable()
export class Accounting {
  /** @throws Error while accounting is down */
  async report(invoice: { readonly transitId: string; readonly amount: number }): Promise<void> {
    await (globalThis as { [LAB]?: (invoice: object) => Promise<void> })[LAB]?.(invoice);
  }
}
