import { channel, tracingChannel, type Channel, type TracingChannel } from 'node:diagnostics_channel';
import { MeshLogger } from './mesh-logger.js';
import { messageSpan } from './message-span.js';
import { requestContext } from './request-context.js';
import { inSpan, type SpanFacts } from './tracing.js';

/*
 * What happens in this process, for metrics, traces and any other tool that listens: channels of node:diagnostics_channel, whose
 * names docs/observability.md lists. Without a listener they cost nothing.
 */

const logger = new MeshLogger('Telemetry');

/** A CloudEvent on its way. Its data isn't for telemetry: it may hold personal data. */
export interface ObservedEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly subject?: string | null | undefined;
  readonly time?: string | undefined;
  readonly traceparent?: unknown;
}

/** One attempt to give an event to a consumer, from a delivery of this database or from a broker. */
export interface ObservedDelivery {
  readonly consumer: string;
  readonly event: ObservedEvent;
  /** `handled`, `performed`, `forwarded`, `duplicate` or `lease-lost`, when it has ended without an error. */
  outcome?: string;
}

/** The run of a handler, inside of its attempt: again when units that share a transaction are run apart. */
export interface ObservedHandling {
  readonly consumer: string;
  readonly event: ObservedEvent;
}

/** A request that gives an event to a broker. */
export interface ObservedPublishing {
  readonly event: ObservedEvent;
  /** `accepted`, `dead`, `refused`, `unreachable` or `undelivered`. */
  outcome?: string;
}

export interface ObservedQuery {
  readonly type: string;
  readonly module: string;
  readonly isRemote: boolean;
}

/** A COMMIT, which may be shared by several units of work. */
export interface ObservedTransaction {
  readonly units: number;
  readonly ms: number;
}

export interface ObservedDeadLetter {
  readonly consumer: string;
  readonly event: ObservedEvent;
  readonly attempts: number;
}

/** A run of a reconcile loop that has ended. */
export interface ObservedReconciliation {
  readonly module: string;
  readonly isDryRun: boolean;
  /** Discrepancies by kind. */
  readonly missing: Readonly<Record<string, number>>;
  /** Messages that were sent again. */
  readonly sent: number;
  readonly interrupted?: string;
}

/** Node ends the process for an error of a listener. */
function safely(listen: () => void): void {
  try {
    listen();
  } catch (error) {
    logger.warn({ err: error }, 'A listener of telemetry has failed');
  }
}

type Ended<Context> = (context: Context, ms: number, error: unknown) => void;

/**
 * Something that begins and ends: a tracing channel for other tools, and a span where there is OpenTelemetry. Listeners of the mesh
 * itself are called without the channel, whose events cost several microseconds.
 */
export class Operation<Context extends object> {
  private readonly channel: TracingChannel<string, Context>;
  private readonly listeners = new Set<Ended<Context>>();

  constructor(
    name: string,
    private readonly spanOf: (context: Context) => SpanFacts,
  ) {
    this.channel = tracingChannel(name);
  }

  /** Runs `work`. @param outcomeOf its result, noted in the context before the end */
  run<Result>(context: Context, work: () => Promise<Result>, outcomeOf?: (result: Result) => string): Promise<Result> {
    const run = () => this.measured(context, work, outcomeOf);
    const { channel } = this;
    return inSpan(
      () => this.spanOf(context),
      () => (channel.hasSubscribers ? channel.tracePromise(run, context) : run()),
    );
  }

  /** @param ended gets the duration in ms, and the error, if it ended with one. @returns a function that stops listening */
  onEnd(ended: Ended<Context>): () => void {
    this.listeners.add(ended);
    return () => void this.listeners.delete(ended);
  }

  /** Makes one promise, as it is called for each message: an asynchronous function would make several. */
  private measured<Result>(
    context: Context,
    work: () => Promise<Result>,
    outcomeOf?: (result: Result) => string,
  ): Promise<Result> {
    if (this.listeners.size === 0 && !this.channel.hasSubscribers) return work();
    const began = performance.now();
    const end = (error?: unknown) => {
      const ms = performance.now() - began;
      for (const ended of this.listeners) safely(() => ended(context, ms, error));
    };
    return work().then(
      (result) => {
        if (outcomeOf) Object.assign(context, { outcome: outcomeOf(result) });
        end();
        return result;
      },
      (error: unknown) => {
        end(error);
        throw error;
      },
    );
  }
}

/** Something that happened: a channel. */
export class Occurrence<Facts extends object> {
  private readonly channel: Channel;

  constructor(name: string) {
    this.channel = channel(name);
  }

  publish(facts: Facts): void {
    if (this.channel.hasSubscribers) this.channel.publish(facts);
  }

  /** @returns a function that stops listening */
  onPublish(listener: (facts: Facts) => void): () => void {
    const listen = (facts: unknown) => safely(() => listener(facts as Facts));
    this.channel.subscribe(listen);
    return () => void this.channel.unsubscribe(listen);
  }
}

export const DELIVERY = new Operation<ObservedDelivery>('meshy.delivery', ({ event, consumer }) =>
  messageSpan('process', 'CONSUMER', event, consumer),
);
export const HANDLING = new Operation<ObservedHandling>('meshy.handling', ({ event, consumer }) =>
  messageSpan('handle', 'INTERNAL', event, consumer),
);
export const PUBLISHING = new Operation<ObservedPublishing>('meshy.publishing', ({ event }) =>
  messageSpan('send', 'PRODUCER', event),
);
export const QUERY = new Operation<ObservedQuery>('meshy.query', ({ type, module, isRemote }) => ({
  name: `query ${type}`,
  kind: isRemote ? 'CLIENT' : 'INTERNAL',
  parent: requestContext()?.traceparent,
  attributes: { 'meshy.query': type, 'meshy.module': module },
}));
/** A message was added to a transaction, which may still be rolled back. */
export const ADDED = new Occurrence<ObservedEvent>('meshy.added');
export const DEAD_LETTER = new Occurrence<ObservedDeadLetter>('meshy.dead-letter');
export const TRANSACTION = new Occurrence<ObservedTransaction>('meshy.transaction');
export const RECONCILIATION = new Occurrence<ObservedReconciliation>('meshy.reconciliation');
