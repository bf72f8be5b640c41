import type { ObservedDelivery, ObservedQuery } from '../observability/telemetry.js';

/** What happened at one consumer. Times from the creation of a message until it was handled, in ms. */
interface ConsumerFigures {
  handled: number;
  failed: number;
  readonly ages: number[];
}

/** Messages between two modules. */
interface EdgeFigures {
  readonly type: string;
  readonly sender: string;
  readonly consumer: string;
  count: number;
  failed: number;
}

interface QueryFigures {
  readonly type: string;
  readonly module: string;
  count: number;
  failed: number;
}

/** Ages that are kept of each consumer: enough for a 99th percentile. */
const MAX_AGES = 1000;
/** Messages that are named. */
const MAX_SAMPLES = 20;
/** Senders choose types and sources, so only so many edges are told apart. */
const MAX_EDGES = 200;
/** Senders choose the length of names. In characters. */
const MAX_NAME = 200;

/** Counts what a process does in one second, however much it is. */
export class Second {
  private readonly consumers = new Map<string, ConsumerFigures>();
  private readonly edges = new Map<string, EdgeFigures>();
  private readonly queries = new Map<string, QueryFigures>();
  private readonly samples: object[] = [];

  /** @param sender the module or system that sent the message */
  delivered({ consumer, event, outcome }: ObservedDelivery, sender: string): void {
    if (outcome === 'duplicate' || outcome === 'lease-lost') return;
    const figures = this.ofConsumer(consumer);
    const type = event.type.slice(0, MAX_NAME);
    const edge = this.ofEdge({ type, sender: sender.slice(0, MAX_NAME), consumer });
    if (outcome === undefined) {
      figures.failed++;
      if (edge) edge.failed++;
    } else {
      figures.handled++;
      if (edge) edge.count++;
      const age = Date.now() - Date.parse(event.time ?? '');
      if (age >= 0) keepAge(figures, age);
    }
    if (this.samples.length >= MAX_SAMPLES) return;
    const [id, subject] = [event.id.slice(0, MAX_NAME), event.subject?.slice(0, MAX_NAME) ?? null];
    this.samples.push({ id, type, subject, sender, consumer, outcome: outcome ?? 'failed' });
  }

  queried({ type, module }: ObservedQuery, error: unknown): void {
    const key = `${module} ${type}`;
    const figures = this.queries.get(key) ?? { type, module, count: 0, failed: 0 };
    this.queries.set(key, figures);
    figures.count++;
    if (error !== undefined) figures.failed++;
  }

  summary(): object {
    const consumers = [...this.consumers].map(([name, { handled, failed, ages }]) => {
      ages.sort((a, b) => a - b);
      const at = (part: number) => (ages.length > 0 ? ages[Math.floor(part * (ages.length - 1))]! : null);
      return { name, handled, failed, p50Ms: at(0.5), p99Ms: at(0.99) };
    });
    const { samples } = this;
    return { consumers, edges: [...this.edges.values()], queries: [...this.queries.values()], samples };
  }

  private ofConsumer(name: string): ConsumerFigures {
    const known = this.consumers.get(name);
    if (known) return known;
    const figures: ConsumerFigures = { handled: 0, failed: 0, ages: [] };
    this.consumers.set(name, figures);
    return figures;
  }

  private ofEdge(edge: Pick<EdgeFigures, 'type' | 'sender' | 'consumer'>): EdgeFigures | undefined {
    const key = `${edge.sender} ${edge.type} ${edge.consumer}`;
    const known = this.edges.get(key);
    if (known || this.edges.size >= MAX_EDGES) return known;
    const figures = { ...edge, count: 0, failed: 0 };
    this.edges.set(key, figures);
    return figures;
  }
}

/** Keeps a fair sample of all ages (reservoir sampling: Vitter, "Random sampling with a reservoir", 1985). */
function keepAge({ ages, handled }: ConsumerFigures, age: number): void {
  if (ages.length < MAX_AGES) return void ages.push(age);
  const place = Math.floor(Math.random() * handled);
  if (place < MAX_AGES) ages[place] = age;
}
