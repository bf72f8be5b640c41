import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { CloudEventsClient } from './broker/cloudevents-client.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { InboxReceiver } from './delivery/inbox-receiver.js';
import { Reconciliation } from './maintenance/reconciliation.js';
import { Retention } from './maintenance/retention.js';
import { MESH_OPTIONS, type MeshOptions } from './mesh-options.js';
import { Relay } from './outbox/relay.js';
import { Database } from './persistence/database.js';
import { DEFAULT_SHUTDOWN_GRACE_MS } from './policies.js';

/** Starts the relay when the application is ready, and stops it before the database is closed. */
@Injectable()
export class MeshLifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly database: Database,
    private readonly relay: Relay,
    private readonly receiver: InboxReceiver,
    private readonly retention: Retention,
    private readonly reconciliation: Reconciliation,
    private readonly queries: RemoteQueries,
    private readonly client: CloudEventsClient,
    @Inject(MESH_OPTIONS) private readonly options: Pick<MeshOptions, 'shutdownGraceMs'>,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.relay.start(this.receiver.consumers);
    this.retention.start();
    this.reconciliation.start();
  }

  /** Nest calls this after the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.retention.stop();
    await this.reconciliation.stop();
    await this.relay.stop(performance.now() + (this.options.shutdownGraceMs ?? DEFAULT_SHUTDOWN_GRACE_MS));
    await this.client.close();
    await this.queries.close();
    await this.database.close();
  }
}
