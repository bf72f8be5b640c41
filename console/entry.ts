import { plural } from './format';
import type { Entry } from './mesh-types';

/** Tells an entry from all others. */
export const keyOf = ({ id, source, consumer }: Entry) => JSON.stringify([source, id, consumer]);

/** The last part of a type, which names the message. */
export const nameOf = (type: string) => type.slice(type.lastIndexOf('.') + 1) || type;

/** Outcome and attempts of a message in words. */
export function attemptsOf({ outcome, attempts }: Entry): string {
  // A broker that makes the attempts doesn't tell their number.
  if (attempts === 0) return outcome === 'dead' ? 'failed for good' : outcome;
  if (outcome === 'dead') return `failed for good after ${plural(attempts, 'attempt')}`;
  return attempts === 1 ? `${outcome} at the first attempt` : `${outcome} after ${plural(attempts, 'attempt')}`;
}

/** The same for the label of a bar; nothing for a message that was handled at once. */
export function briefly({ outcome, attempts }: Entry): string {
  if (outcome === 'dead') return attempts > 0 ? `✕ dead after ${plural(attempts, 'attempt')}` : '✕ dead';
  return attempts > 1 ? `▲ ${plural(attempts, 'attempt')}` : '';
}
