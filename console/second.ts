import type { ConsumerSecond, OutboxState, ProcessState } from './mesh-types';

/** A process without a newer state isn't counted, in ms. */
export const SILENT_MS = 3500;

/** The last state of a process. */
export interface Seen {
  readonly state: ProcessState;
  /** When it came; clock of the browser, in ms. */
  readonly at: number;
}

export interface EdgeSecond {
  readonly type: string;
  readonly sender: string;
  readonly consumer: string;
  readonly count: number;
  readonly failed: number;
}

/** One second of all processes. */
export interface Second {
  /** Clock of the browser, in ms. */
  readonly at: number;
  /** Undefined while no process can read its database. */
  readonly outbox?: OutboxState;
  readonly consumers: ReadonlyMap<string, ConsumerSecond>;
  /** By `edgeKey`; queries have the module as consumer and no sender. */
  readonly edges: ReadonlyMap<string, EdgeSecond>;
  /** Whether a message or query was handled or failed. */
  readonly isBusy: boolean;
}

export const edgeKey = (type: string, sender: string, consumer: string) => JSON.stringify([type, sender, consumer]);

/** Sums up the last second of all processes that answer. */
export function summarize(processes: readonly Seen[], now: number): Second {
  const states = processes.filter(({ at }) => now - at < SILENT_MS).map(({ state }) => state);
  const outboxes = states.flatMap(({ outbox }) => outbox ?? []);
  const consumers = new Map<string, ConsumerSecond>();
  for (const one of states.flatMap((it) => it.consumers)) {
    const other = consumers.get(one.name);
    consumers.set(one.name, other ? together(one, other) : one);
  }
  const edges = new Map<string, EdgeSecond>();
  const add = (edge: EdgeSecond) => {
    const key = edgeKey(edge.type, edge.sender, edge.consumer);
    const { count = 0, failed = 0 } = edges.get(key) ?? {};
    edges.set(key, { ...edge, count: edge.count + count, failed: edge.failed + failed });
  };
  for (const state of states) {
    state.edges.forEach(add);
    for (const { type, module, count, failed } of state.queries)
      add({ type, sender: '', consumer: module, count, failed });
  }
  return {
    at: now,
    ...(outboxes.length > 0 && { outbox: outboxes.reduce(sum) }),
    consumers,
    edges,
    isBusy: [...consumers.values(), ...edges.values()].some((it) => countOf(it) + it.failed > 0),
  };
}

const countOf = (it: ConsumerSecond | EdgeSecond) => ('handled' in it ? it.handled : it.count);

function sum(one: OutboxState, other: OutboxState): OutboxState {
  const consumers = { ...one.consumers };
  for (const [name, n] of Object.entries(other.consumers)) consumers[name] = (consumers[name] ?? 0) + n;
  return {
    pending: one.pending + other.pending,
    ready: one.ready + other.ready,
    retrying: one.retrying + other.retrying,
    deadLetters: one.deadLetters + other.deadLetters,
    lagMs: Math.max(one.lagMs, other.lagMs),
    consumers,
  };
}

/** The slower quantile of two processes: an average of quantiles means nothing. */
function together(one: ConsumerSecond, other: ConsumerSecond): ConsumerSecond {
  const slower = (a: number | null, b: number | null) => (a === null || b === null ? (a ?? b) : Math.max(a, b));
  return {
    name: one.name,
    handled: one.handled + other.handled,
    failed: one.failed + other.failed,
    p50Ms: slower(one.p50Ms, other.p50Ms),
    p99Ms: slower(one.p99Ms, other.p99Ms),
  };
}
