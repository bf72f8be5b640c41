import { edgeKey, type Second } from './second';
import type { Edge } from './topology-edges';

/** What happened on an edge, or in a module. */
export interface Traffic {
  /** Messages in a second, over the last seconds. */
  readonly rate: number;
  /** Failed attempts in the last seconds. */
  readonly failed: number;
  /** Whether the consumer is behind. */
  readonly isLate: boolean;
  readonly pending: number;
}

/** A single message would be seen for one second only, hence more of them. */
const RATE_SECONDS = 5;
/** A message that is retried fails again after a pause. */
const FAILED_SECONDS = 10;
/** A consumer is behind from this p99 on, in ms. */
const LATE_MS = 1000;

export function trafficOf(seconds: readonly Second[], { message, sender, consumer }: Edge): Traffic {
  const key = edgeKey(message.type, message.kind === 'query' ? '' : sender, consumer);
  const { isLate, pending } = moduleTraffic(seconds, consumer);
  const rate = sum(seconds.slice(-RATE_SECONDS), (it) => it.edges.get(key)?.count) / RATE_SECONDS;
  const failed = sum(seconds.slice(-FAILED_SECONDS), (it) => it.edges.get(key)?.failed);
  return { rate, failed, isLate: isLate && message.kind !== 'query' && rate > 0, pending };
}

export function moduleTraffic(seconds: readonly Second[], name: string): Traffic {
  const lately = seconds.slice(-RATE_SECONDS);
  return {
    rate: sum(lately, (it) => it.consumers.get(name)?.handled) / RATE_SECONDS,
    failed: sum(seconds.slice(-FAILED_SECONDS), (it) => it.consumers.get(name)?.failed),
    isLate: lately.some((it) => (it.consumers.get(name)?.p99Ms ?? 0) > LATE_MS),
    pending: seconds.at(-1)?.outbox?.consumers[name] ?? 0,
  };
}

/** Failures first: a consumer that fails is late as well. */
export const stateOf = ({ failed, isLate, rate }: Traffic) =>
  failed > 0 ? 'failing' : isLate ? 'late' : rate > 0 ? 'active' : 'idle';

export const WORDS = { failing: 'fails', late: 'late', active: 'active', idle: '' } as const;
export const SIGNS = { failing: '✕', late: '▲', active: '', idle: '' } as const;

function sum(seconds: readonly Second[], of: (second: Second) => number | undefined): number {
  return seconds.reduce((total, second) => total + (of(second) ?? 0), 0);
}
