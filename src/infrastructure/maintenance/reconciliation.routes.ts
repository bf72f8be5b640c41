import { Controller, Get, HttpCode, Post, Query, UseFilters, UseGuards, UsePipes } from '@nestjs/common';
import { z } from 'zod';
import { durationMs, durationText } from '../contracts/schemas.js';
import { AdministrationGuard } from '../http/administration.guard.js';
import { ServedOn } from '../http/listener.guard.js';
import { Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';
import { QueryParameters } from '../http/strict-request.js';
import { schemaValidation } from '../http/validation.js';
import { Reconciliation } from './reconciliation.js';

const starting = z.object({
  'dry-run': z.enum(['true', 'false']).optional(),
  after: durationText.optional(),
});

/** The reconcile loops of the modules that this process hosts. */
@Controller('mesh/reconciliations')
@ServedOn('mesh')
@UseGuards(AdministrationGuard)
@UsePipes(schemaValidation())
@UseFilters(ProblemFilter)
export class ReconciliationController {
  constructor(private readonly reconciliation: Reconciliation) {}

  @Get()
  @Operation('The current run of each reconcile loop, or the last one')
  async list(): Promise<object> {
    return { items: await this.reconciliation.runs() };
  }

  // A POST to /mesh/<name> would be an event for the consumer of that name, hence /run.
  @Post('run')
  @QueryParameters(starting)
  @HttpCode(202)
  @Operation(
    'Starts a run, which sends again what is missing; ?dry-run=true only counts it; ?after=PT0S also examines what ' +
      'changed a moment ago',
  )
  async start(@Query({ schema: starting }) query: z.infer<typeof starting>): Promise<object> {
    // A run may take minutes: GET tells how far it is.
    const minAgeMs = query.after === undefined ? undefined : durationMs(query.after);
    void this.reconciliation.run({ isDryRun: query['dry-run'] === 'true', minAgeMs });
    return { items: await this.reconciliation.runs() };
  }
}
