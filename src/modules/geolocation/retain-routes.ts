import { Inject, Injectable } from '@nestjs/common';
import { guardConfig, type Settings } from '../../config-namespaces.js';
import { ModuleRetention, type RowRetention } from '../../infrastructure/maintenance/row-retention.js';
import { dayOf } from '../../infrastructure/observability/clock.js';

/**
 * A route lets a repeated UpdateDestination have the same answer as the first. A ride has its distance in a row of its own
 * once it is over, so the route may go when no message comes again. The reconcile loop of rides asks for a route only while
 * this module is sure to have it: see `HeldEffects`. A route that an open ride needs later is measured again. Addresses
 * belong to many rides and stay.
 */
@Injectable()
@ModuleRetention()
export class RouteRetention implements RowRetention {
  constructor(@Inject(guardConfig.KEY) private readonly settings: Settings<typeof guardConfig>) {}

  expired(now: number) {
    const parameters = [dayOf(now - this.settings.repeatGuardMs)];
    return [{ table: 'geolocation_route', where: 'measured_on < $1', parameters }];
  }
}
