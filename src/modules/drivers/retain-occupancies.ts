import { Inject, Injectable } from '@nestjs/common';
import { guardConfig, type Settings } from '../../config-namespaces.js';
import { ModuleRetention, type RowRetention } from '../../infrastructure/maintenance/row-retention.js';
import { dayOf } from '../../infrastructure/observability/clock.js';

/**
 * A FREED row protects from an OccupyDriver that comes late. No message comes later than its inbox row and its dead letter
 * are kept, so the row may go after that. The reconcile loop of rides asks whether a driver was freed only while this
 * module is sure to know it: see `HeldEffects`. OCCUPIED rows stay until the driver is freed.
 */
@Injectable()
@ModuleRetention()
export class OccupancyRetention implements RowRetention {
  constructor(@Inject(guardConfig.KEY) private readonly settings: Settings<typeof guardConfig>) {}

  expired(now: number) {
    const parameters = [dayOf(now - this.settings.repeatGuardMs)];
    return [{ table: 'drivers_occupancy', where: "state = 'FREED' AND freed_on < $1", parameters }];
  }
}
