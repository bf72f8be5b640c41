import { othersHoldShards, type LeaseScope } from '../leases/leases.js';
import type { UnitOfWork } from '../persistence/unit-of-work.js';
import { consumersWithDeliveries } from '../store/consumers-with-deliveries.js';
import type { Consumer } from './consumer.js';
import { EventBudget } from './event-budget.js';
import { DeliveryWorker } from './delivery-worker.js';
import type { MeshLogger } from '../observability/mesh-logger.js';

/** One delivery worker for each consumer of this process. */
export class DeliveryWorkers {
  private readonly workers = new Map<string, DeliveryWorker>();
  private readonly budget = new EventBudget();
  private isStopped = true;

  /** @param remoteConsumer makes consumers for names that no module of this process has; undefined for unknown names */
  constructor(
    private readonly work: UnitOfWork,
    private readonly scope: LeaseScope,
    private readonly logger: MeshLogger,
    private readonly remoteConsumer?: (name: string) => Consumer | undefined,
  ) {}

  start(consumers: readonly Consumer[]): void {
    this.isStopped = false;
    for (const consumer of consumers) this.add(consumer);
  }

  get isBusy(): boolean {
    return [...this.workers.values()].some((it) => it.isBusy);
  }

  /** The longest backlog of a consumer that handles its messages, in ms. */
  get backlogAgeMs(): number {
    return Math.max(0, ...[...this.workers.values()].map((it) => it.backlogAgeMs));
  }

  /** Whether all of these consumers have more deliveries than they can start. */
  areSaturated(names: Iterable<string>): boolean {
    return [...names].every((name) => this.workers.get(name)?.isSaturated);
  }

  /** To be called after a commit of deliveries: wakes the workers of these consumers, and processes with other shards. */
  wake(names: Iterable<string>): void {
    if (this.isStopped) return;
    const { leases, resource } = this.scope;
    let isAny = false;
    for (const name of names) {
      (this.workers.get(name) ?? this.addRemote(name))?.wake();
      isAny = true;
    }
    if (isAny && othersHoldShards(leases, resource)) leases.notify('deliveries');
  }

  /** @param afresh also for retries that belonged to another process until now */
  wakeAll(afresh = false): void {
    for (const worker of this.workers.values()) worker.wake(afresh);
  }

  /** Wakes consumers whose deliveries an earlier process left. */
  async resume(): Promise<void> {
    for (const consumer of await consumersWithDeliveries(this.work.sql)) {
      if (this.workers.has(consumer)) continue;
      this.wake([consumer]);
      if (!this.workers.has(consumer))
        this.logger.warn({ consumer }, 'Deliveries wait for a consumer that this process does not host');
    }
  }

  /** Finds remote consumers whose deliveries another process wrote. */
  findRemoteConsumers(): void {
    if (!this.remoteConsumer || this.isStopped) return;
    consumersWithDeliveries(this.work.sql).then(
      (names) => {
        for (const name of names) if (!this.workers.has(name) && !this.isStopped) this.addRemote(name)?.wake();
      },
      // The next poll asks again.
      () => undefined,
    );
  }

  /** Starts nothing more. What is in flight goes on until it ends. */
  stop(): void {
    this.isStopped = true;
    for (const worker of this.workers.values()) worker.stop();
  }

  private addRemote(name: string): DeliveryWorker | undefined {
    const consumer = this.remoteConsumer?.(name);
    return consumer && this.add(consumer);
  }

  private add(consumer: Consumer): DeliveryWorker {
    const worker = new DeliveryWorker(consumer, this.work, this.scope, this.logger, this.budget);
    this.workers.set(consumer.name, worker);
    return worker;
  }
}
