import { redeliveryHorizonMs, type DeliveryPolicy } from '../contracts/retry-policy.js';
import type { RetentionPolicy } from '../store/expired-rows.js';

const DAY_MS = 86_400_000;

/** What the settings are called where they were given: the options of the mesh, or the variables of an application. */
export interface InboxSettings {
  readonly replayWindow: string;
  readonly retry: string;
  readonly unknownTypeGrace: string;
}

/** Why an inbox would forget messages that can still be delivered again, and what to do about it; undefined if it would not. */
export function inboxProblem(
  { inboxMs, replayWindowMs }: Pick<RetentionPolicy, 'inboxMs' | 'replayWindowMs'>,
  delivery: DeliveryPolicy,
  names: InboxSettings,
): string | undefined {
  const days = (ms: number) => `${(ms / DAY_MS).toFixed(2)} days`;
  const { unknownTypeGraceMs = 0 } = delivery;
  const forgets = `the inbox forgets after ${days(inboxMs)}, but a message`;
  if (inboxMs < unknownTypeGraceMs)
    return `${forgets} of an unknown type waits for ${days(unknownTypeGraceMs)}: lengthen it, or shorten ${names.unknownTypeGrace}`;
  const horizonMs = redeliveryHorizonMs(delivery) + replayWindowMs;
  if (inboxMs >= horizonMs) return undefined;
  return (
    `${forgets} can be delivered again for ${days(horizonMs)} (retries, time-outs and the replay window): ` +
    `lengthen it, or reduce ${names.retry} or ${names.replayWindow}`
  );
}
