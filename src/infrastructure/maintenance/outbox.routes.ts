import { Injectable } from '@nestjs/common';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { Relay } from '../outbox/relay.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { outboxStatistics } from '../store/statistics.js';
import { SnapshotWatch } from './snapshot-watch.js';

@Injectable()
export class OutboxRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly snapshots: SnapshotWatch,
    guard: AdministrationGuard,
  ) {
    const show = meshRoute({
      method: 'GET',
      path: '/mesh/outbox',
      summary: 'How many messages wait, and since when; with a broker, what this process knows of it',
      guard,
      handle: () => this.show(),
    });
    this.routes = [show];
  }

  private async show(): Promise<object> {
    const broker = this.relay.brokerState;
    const oldSnapshot = await this.snapshots.look();
    const statistics = await outboxStatistics(this.work.sql);
    return { ...statistics, ...(broker && { broker }), ...(oldSnapshot && { oldSnapshot }) };
  }
}
