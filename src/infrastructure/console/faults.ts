import { setTimeout as wait } from 'node:timers/promises';
import { Reject } from '../contracts/message.js';
import type { InboxReceiver } from '../delivery/inbox-receiver.js';

/** `fail`: attempts fail and are repeated. `reject`: messages become dead letters. `slow`: attempts take 2 s longer. */
export type FaultKind = 'fail' | 'reject' | 'slow';

const SLOWNESS_MS = 2000;

/** Disturbs consumers for a while, so that people see what becomes of their messages. In development only. */
export class Faults {
  private readonly disturbed = new Map<string, { readonly kind: FaultKind; readonly until: number }>();

  constructor(receiver: InboxReceiver) {
    receiver.beforeAttempt = (consumer) => this.beforeAttempt(consumer);
  }

  disturb(consumer: string, kind: FaultKind, ms: number): void {
    this.disturbed.set(consumer, { kind, until: performance.now() + ms });
  }

  private async beforeAttempt(consumer: string): Promise<void> {
    const { kind, until } = this.disturbed.get(consumer) ?? { until: 0 };
    if (until < performance.now()) return;
    if (kind === 'slow') await wait(SLOWNESS_MS);
    if (kind === 'fail') throw new Error('The console makes this consumer fail for a while');
    if (kind === 'reject') throw new Reject('The console makes this consumer reject messages for a while');
  }
}
