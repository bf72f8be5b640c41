import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { CloudEventsClient } from './broker/cloudevents-client.js';
import { ConsoleRoutes } from './console/console.routes.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { InboxReceiver } from './delivery/inbox-receiver.js';
import { Connections } from './http/connections.js';
import { guardMemory } from './http/memory-guard.js';
import { MeshListener } from './http/mesh-listener.js';
import { Metrics } from './maintenance/metrics.js';
import { Reconciliation } from './maintenance/reconciliation.js';
import { Retention } from './maintenance/retention.js';
import { SnapshotWatch } from './maintenance/snapshot-watch.js';
import { IS_WHOLE, MeshHttp } from './mesh-http.js';
import { MESH_OPTIONS, type MeshOptions } from './mesh-options.js';
import { startTracing } from './observability/tracing.js';
import { Relay } from './outbox/relay.js';
import { Database } from './persistence/database.js';
import { DEFAULT_SHUTDOWN_GRACE_MS } from './policies.js';

/** Starts the relay and the mesh's port when the application is ready, and stops them before the database is closed. */
@Injectable()
export class MeshLifecycle
  implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown
{
  private stopGuarding = () => {};

  constructor(
    private readonly database: Database,
    private readonly relay: Relay,
    private readonly receiver: InboxReceiver,
    private readonly retention: Retention,
    private readonly reconciliation: Reconciliation,
    private readonly snapshots: SnapshotWatch,
    private readonly metrics: Metrics,
    private readonly console: ConsoleRoutes,
    private readonly queries: RemoteQueries,
    private readonly client: CloudEventsClient,
    private readonly listener: MeshListener,
    private readonly connections: Connections,
    private readonly http: MeshHttp,
    private readonly host: HttpAdapterHost,
    @Inject(IS_WHOLE) private readonly isWhole: boolean,
    @Inject(MESH_OPTIONS) private readonly options: Pick<MeshOptions, 'shutdownDelayMs' | 'shutdownGraceMs'>,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await startTracing();
    this.metrics.start();
    await this.relay.start(this.receiver.consumers);
    this.retention.start();
    this.reconciliation.start();
    this.snapshots.start();
    // An application context without HTTP has no adapter.
    const adapter = this.host.httpAdapter as HttpAdapterHost['httpAdapter'] | undefined;
    if (adapter && this.isWhole) this.connections.watch(adapter.getHttpServer() as Server);
    this.stopGuarding = guardMemory(() => this.connections.closeUnworked());
    await this.listener.open((request: IncomingMessage, response: ServerResponse) =>
      this.http.takeMesh(request, response),
    );
  }

  /** The process isn't ready any more. It still answers, until proxies have noticed. */
  onModuleDestroy(): void {
    this.console.close();
    this.connections.endAfterAnswers();
  }

  /** Nest calls this before it closes the public port, so both ports stop at the same time. */
  async beforeApplicationShutdown(): Promise<void> {
    const { shutdownDelayMs = 0 } = this.options;
    if (shutdownDelayMs > 0) await wait(shutdownDelayMs);
    this.listener.stop();
    this.connections.close(this.graceMs);
  }

  /** Nest calls this after the public port has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.listener.drained();
    this.snapshots.stop();
    this.stopGuarding();
    this.metrics.stop();
    const deadline = performance.now() + this.graceMs;
    const maintenance = Promise.all([this.retention.stop(), this.reconciliation.stop()]);
    // A reconciler is code of a module, and may wait for another system.
    await Promise.race([maintenance, wait(this.graceMs, undefined, { ref: false })]);
    await this.relay.stop(deadline);
    await this.client.close();
    await this.queries.close();
    await this.database.close();
  }

  private get graceMs(): number {
    return this.options.shutdownGraceMs ?? DEFAULT_SHUTDOWN_GRACE_MS;
  }
}
