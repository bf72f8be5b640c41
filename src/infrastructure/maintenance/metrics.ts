import { Injectable } from '@nestjs/common';
import type { Registry } from 'prom-client';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { onAnswer } from '../observability/answered-requests.js';
import { MeshLogger } from '../observability/mesh-logger.js';
import * as telemetry from '../observability/telemetry.js';
import { Relay } from '../outbox/relay.js';
import { DatabaseUnavailable, isDatabaseUnusable } from '../persistence/sql.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { UNKNOWN_CONSUMER, UNPUBLISHED } from '../store/dead-letter-rows.js';
import { outboxStatistics } from '../store/statistics.js';
import {
  countedMetrics,
  currentMetrics,
  processMetrics,
  type CountedMetrics,
  type CurrentMetrics,
} from './metric-definitions.js';
import { SnapshotWatch } from './snapshot-watch.js';

type Note = (counted: CountedMetrics) => void;

/** The label of types and consumers that stand in no contract: clients could make new time series with their names. */
const OTHER = 'other';

/** A scrape loads `prom-client` earlier. */
const LOAD_AFTER_MS = 1000;
/** As does a burst of so many: what is kept until then takes memory. */
const MAX_EARLY = 100;

/**
 * The figures of this process in Prometheus's text format, counted by listening to the telemetry of the process. Where the
 * package `prom-client` isn't installed, nothing is counted.
 */
@Injectable()
export class Metrics {
  private readonly logger = new MeshLogger('Metrics');
  private prom?: typeof import('prom-client');
  private registry?: Registry;
  private current?: CurrentMetrics;
  private counted?: CountedMetrics;
  private loading?: Promise<void>;
  private timer?: NodeJS.Timeout;
  /** What happened before `prom-client` was loaded. */
  private readonly early: Note[] = [];
  private stopListening: (() => void)[] = [];
  private readonly consumers = new Set<string>();

  constructor(
    private readonly handlers: HandlerRegistry,
    private readonly relay: Relay,
    private readonly work: UnitOfWork,
    private readonly snapshots: SnapshotWatch,
  ) {}

  /** Counts from now on. Loads `prom-client` later: it would delay the first requests by some 20 ms. */
  start(): void {
    const effects = this.handlers.effects.map(({ effect }) => effect.consumer);
    for (const it of [...this.handlers.hosted, ...effects, UNPUBLISHED, UNKNOWN_CONSUMER]) this.consumers.add(it);
    this.listen();
    this.timer = setTimeout(() => void this.load(), LOAD_AFTER_MS).unref();
  }

  stop(): void {
    clearTimeout(this.timer);
    for (const stop of this.stopListening.splice(0)) stop();
    this.early.length = 0;
  }

  /** @returns undefined without `prom-client` */
  async text(): Promise<string | undefined> {
    await this.load();
    if (!this.prom || !this.registry || !this.current) return undefined;
    await this.read(this.current);
    return this.prom.Registry.merge([this.registry, processMetrics(this.prom)]).metrics();
  }

  private load(): Promise<void> {
    this.loading ??= import('prom-client')
      .then((prom) => this.define(prom))
      .catch((error: unknown) => {
        this.stop();
        this.logger.debug({ err: error }, 'There are no metrics: prom-client is missing, or of no use');
      });
    return this.loading;
  }

  private define(prom: typeof import('prom-client')): void {
    this.prom = prom;
    const counted = (this.counted = countedMetrics(prom, (this.registry = new prom.Registry())));
    this.current = currentMetrics(prom, this.registry);
    for (const note of this.early.splice(0)) note(counted);
    processMetrics(prom);
  }

  private count(note: Note): void {
    if (this.counted) note(this.counted);
    else if (this.early.push(note) > MAX_EARLY) void this.load();
  }

  private async read(gauges: CurrentMetrics): Promise<void> {
    const statistics = await outboxStatistics(this.work.sql);
    const { refused, unreachable, waiting } = this.relay.brokerState ?? {};
    gauges.pending.set(statistics.pending);
    gauges.ready.set(statistics.ready);
    gauges.retrying.set(statistics.retrying);
    gauges.deadLetters.set(statistics.deadLetters);
    gauges.lagSeconds.set(statistics.lagMs / 1000);
    gauges.backlogSeconds.set(this.relay.backlogAgeMs / 1000);
    gauges.waitingRequests.set(waiting?.requests ?? 0);
    gauges.isRefused.set(refused ? 1 : 0);
    gauges.isUnreachable.set(unreachable ? 1 : 0);
    gauges.oldSnapshotSeconds.set(((await this.snapshots.look())?.ageMs ?? 0) / 1000);
    for (const [resource, held] of Object.entries(this.relay.heldShards)) gauges.leasesHeld.set({ resource }, held);
    gauges.consumerPending.reset();
    for (const it of this.handlers.hosted) gauges.consumerPending.set({ consumer: it }, 0);
    for (const [name, pending] of Object.entries(statistics.consumers))
      gauges.consumerPending.inc({ consumer: this.consumerOf(name) }, pending);
  }

  private listen(): void {
    this.stopListening = [
      telemetry.ADDED.onPublish((event) => this.count(({ added }) => added.inc({ type: this.typeOf(event) }))),
      telemetry.DELIVERY.onEnd((delivery, _, error) => this.delivered(delivery, error)),
      telemetry.HANDLING.onEnd((it, ms) =>
        this.count(({ handleSeconds }) => handleSeconds.observe(this.labelsOf(it), ms / 1000)),
      ),
      telemetry.DEAD_LETTER.onPublish((it) => this.count(({ deadLettered }) => deadLettered.inc(this.labelsOf(it)))),
      telemetry.PUBLISHING.onEnd(({ event, outcome = 'failed' }, ms) =>
        this.count(({ published, publishSeconds }) => {
          published.inc({ type: this.typeOf(event), outcome });
          publishSeconds.observe(ms / 1000);
        }),
      ),
      telemetry.QUERY.onEnd(({ type }, ms, error) =>
        this.count(({ queries, querySeconds }) => {
          queries.inc({ type, outcome: error === undefined ? 'answered' : 'failed' });
          querySeconds.observe({ type }, ms / 1000);
        }),
      ),
      telemetry.TRANSACTION.onPublish(({ units, ms }) =>
        this.count(({ transactionUnits, commitSeconds }) => {
          transactionUnits.observe(units);
          commitSeconds.observe(ms / 1000);
        }),
      ),
      telemetry.RECONCILIATION.onPublish((run) => this.count((counted) => countRun(counted, run))),
      onAnswer((labels, ms) =>
        this.count(({ requests, requestSeconds }) => {
          requests.inc(labels);
          const { part, method } = labels;
          if (ms >= 0) requestSeconds.observe({ part, method }, ms / 1000);
        }),
      ),
    ];
  }

  private delivered({ consumer, event, outcome }: telemetry.ObservedDelivery, error: unknown): void {
    const labels = this.labelsOf({ consumer, event });
    const ageMs = Date.now() - Date.parse(event.time ?? '');
    this.count(({ failed, handled, endToEndSeconds }) => {
      if (outcome === undefined) {
        if (!isFaultOfDatabase(error)) failed.inc(labels);
        return;
      }
      handled.inc({ ...labels, outcome });
      const didNothing = outcome === 'duplicate' || outcome === 'lease-lost';
      if (!didNothing && ageMs >= 0) endToEndSeconds.observe(labels, ageMs / 1000);
    });
  }

  private labelsOf({ consumer, event }: { consumer: string; event: telemetry.ObservedEvent }) {
    return { consumer: this.consumerOf(consumer), type: this.typeOf(event) };
  }

  private typeOf({ type }: telemetry.ObservedEvent): string {
    return this.handlers.message(type) ? type : OTHER;
  }

  /** The address of a module in another process is one of a few, but it is no name. */
  private consumerOf(name: string): string {
    return this.consumers.has(name) ? name : OTHER;
  }
}

function countRun(counted: CountedMetrics, run: telemetry.ObservedReconciliation): void {
  const { module, isDryRun, missing, sent, interrupted } = run;
  const outcome = interrupted ? 'interrupted' : isDryRun ? 'dry-run' : 'completed';
  counted.reconciliations.inc({ module, outcome });
  const found = Object.values(missing).reduce((sum, n) => sum + n, 0);
  counted.discrepancies.inc({ module }, found);
  counted.repairs.inc({ module }, sent);
}

function isFaultOfDatabase(error: unknown): boolean {
  return error instanceof DatabaseUnavailable || isDatabaseUnusable(error);
}
