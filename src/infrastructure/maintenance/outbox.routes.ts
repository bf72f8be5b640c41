import { Controller, Get, UseFilters, UseGuards } from '@nestjs/common';
import { AdministrationGuard } from '../http/administration.guard.js';
import { ServedOn } from '../http/listener.guard.js';
import { ApiSection, Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';
import { Relay } from '../outbox/relay.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { outboxStatistics } from '../store/statistics.js';
import { SnapshotWatch } from './snapshot-watch.js';

@Controller('mesh/outbox')
@ApiSection('Mesh')
@ServedOn('mesh')
@UseGuards(AdministrationGuard)
@UseFilters(ProblemFilter)
export class OutboxController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly snapshots: SnapshotWatch,
  ) {}

  @Get()
  @Operation('How many messages wait, and since when; with a broker, what this process knows of it')
  async show(): Promise<object> {
    const broker = this.relay.brokerState;
    const oldSnapshot = await this.snapshots.look();
    const statistics = await outboxStatistics(this.work.sql);
    return { ...statistics, ...(broker && { broker }), ...(oldSnapshot && { oldSnapshot }) };
  }
}
