import { Injectable } from '@nestjs/common';

/** Set by the lab in the processes that it starts; what it does there is in lab/agent.mjs. */
const LAB = Symbol.for('workshop.accounting');

/**
 * Every invoice is reported to accounting, a system that isn't ours: sometimes slow, sometimes out of order. Nobody
 * answers for it here, at once, unless the lab is running.
 */
@Injectable()
export class Accounting {
  /** @throws Error while accounting is out of order */
  async report(invoice: { readonly transitId: string; readonly amount: number }): Promise<void> {
    await (globalThis as { [LAB]?: (invoice: object) => Promise<void> })[LAB]?.(invoice);
  }
}
