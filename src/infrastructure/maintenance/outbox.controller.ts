import { Controller, Get, UseFilters, UseGuards } from '@nestjs/common';
import { AdministrationGuard } from '../http/administration.guard.js';
import { ApiSection, Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { outboxStatistics } from '../store/statistics.js';

@Controller('mesh/outbox')
@ApiSection('Mesh')
@UseGuards(AdministrationGuard)
@UseFilters(ProblemFilter)
export class OutboxController {
  constructor(private readonly work: UnitOfWork) {}

  @Get()
  @Operation('How many messages wait, and since when')
  show(): Promise<object> {
    return outboxStatistics(this.work.sql);
  }
}
