import { Controller, Get, HttpCode, Post, Query, UseFilters, UseGuards, UsePipes } from '@nestjs/common';
import { z } from 'zod';
import { Reconciliation } from './reconciliation.js';
import { schemaValidation } from '../http/http.js';
import { AdministrationGuard } from '../dead-letters/dead-letters.controller.js';
import { Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';

const starting = z.object({ 'dry-run': z.enum(['true', 'false']).optional() });

/** The reconcile loops of the modules that are here. */
@Controller('mesh/reconciliations')
@UseGuards(AdministrationGuard)
@UsePipes(schemaValidation())
@UseFilters(ProblemFilter)
export class ReconciliationController {
  constructor(private readonly reconciliation: Reconciliation) {}

  @Get()
  @Operation('The pass under way of each module that has a reconcile loop, or its last')
  async list(): Promise<object> {
    return { items: await this.reconciliation.runs() };
  }

  // Not at the path itself: what is posted to /mesh/<name> is an event for a consumer of that name.
  @Post('run')
  @HttpCode(202)
  @Operation('Begins a pass: what is missing is sent again; ?dry-run=true only counts it')
  async start(@Query({ schema: starting }) query: z.infer<typeof starting>): Promise<object> {
    // Nobody waits for it here: it takes its time, and GET tells how far it is.
    void this.reconciliation.run({ isDryRun: query['dry-run'] === 'true' });
    return { items: await this.reconciliation.runs() };
  }
}
