import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { durationMs, durationText } from '../contracts/schemas.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { Reconciliation } from './reconciliation.js';

const starting = z.object({
  'dry-run': z.enum(['true', 'false']).optional(),
  after: durationText.optional(),
  full: z.enum(['true', 'false']).optional(),
});

/** The reconcile loops of the modules that this process hosts. */
@Injectable()
export class ReconciliationRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(
    private readonly reconciliation: Reconciliation,
    guard: AdministrationGuard,
  ) {
    this.routes = [
      meshRoute({
        method: 'GET',
        path: '/mesh/reconciliations',
        summary: 'The current run of each reconcile loop, or the last one',
        guard,
        handle: () => this.list(),
      }),
      meshRoute({
        method: 'POST',
        // A POST to /mesh/<name> would be an event for the consumer of that name, hence /run.
        path: '/mesh/reconciliations/run',
        summary:
          'Starts a run, which sends again what is missing; ?dry-run=true only counts it; ?after=PT0S also examines ' +
          'what changed a moment ago; ?full=true also reads what earlier runs have found whole',
        guard,
        query: starting,
        status: 202,
        handle: ({ query }) => this.start(query),
      }),
    ];
  }

  private async list(): Promise<object> {
    return { items: await this.reconciliation.runs() };
  }

  private async start(query: z.infer<typeof starting>): Promise<object> {
    const minAge = query.after === undefined ? {} : { minAgeMs: durationMs(query.after) };
    // A run may take minutes: GET tells how far it is.
    void this.reconciliation.run({ isDryRun: query['dry-run'] === 'true', isFull: query.full === 'true', ...minAge });
    return this.list();
  }
}
