import { Inject, Injectable } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { guardConfig, type Settings } from '../../config-namespaces.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { ReadSettledTransits } from '../drivers/contract.js';
import { ReadStoredRoutes } from '../geolocation/contract.js';
import { ReadInvoicedTransits } from '../invoicing/contract.js';
import { ReadTransitMiles } from '../loyalty/contract.js';
import { lastStepAt } from './last-step.js';
import type { Transit } from './tables.js';
import type { Effect } from './transit-effects.js';

/** For each effect, the ids of the transits that have it. */
export type Held = Partial<Record<Effect['name'], ReadonlySet<string>>>;

const DAY_MS = 86_400_000;

/**
 * Asks the other modules which effects of transits they hold.
 *
 * Drivers forgets who was freed, and geolocation the routes, `REPEAT_GUARD_RETENTION` after they were stored. A day before
 * that, counted from the last step of a transit, these two count as held, because nothing needs them any more. Otherwise each full
 * run would send their commands again.
 */
@Injectable()
export class HeldEffects {
  constructor(
    private readonly queries: QueryBus,
    private readonly clock: Clock,
    @Inject(guardConfig.KEY) private readonly settings: Settings<typeof guardConfig>,
  ) {}

  /**
   * @param transits at most 100
   * @throws Unavailable when a module doesn't answer
   */
  async of(transits: readonly Transit[]): Promise<Held> {
    const completed = transits.filter(({ status }) => status === 'COMPLETED');
    const before = this.clock.now().getTime() - this.settings.repeatGuardMs + DAY_MS;
    const forgotten = new Set(transits.filter((it) => lastStepAt(it) < before).map(({ id }) => id));
    const [route, ofDrivers, miles, invoice] = await Promise.all([
      this.routes(transits.filter(({ id }) => !forgotten.has(id))),
      this.ofDrivers(transits),
      this.miles(completed),
      this.invoices(completed),
    ]);
    const driverFreed = new Set([...(ofDrivers.driverFreed ?? []), ...forgotten]);
    return { ...ofDrivers, route: new Set([...route, ...forgotten]), driverFreed, miles, invoice };
  }

  private async routes(transits: readonly Transit[]): Promise<Set<string>> {
    if (transits.length === 0) return new Set();
    const routes = transits.map(({ id, pickupId, destinationId }) => ({ transitId: id, pickupId, destinationId }));
    return new Set(await this.queries.execute(new ReadStoredRoutes({ routes })));
  }

  private async ofDrivers(transits: readonly Transit[]): Promise<Held> {
    const driven = transits.flatMap(({ id, driverId }) => (driverId === null ? [] : [{ transitId: id, driverId }]));
    if (driven.length === 0) return {};
    const answers = await this.queries.execute(new ReadSettledTransits({ transits: driven }));
    const idsWhere = (holds: (answer: (typeof answers)[number]) => boolean) =>
      new Set(answers.filter(holds).map(({ transitId }) => transitId));
    return {
      driverFee: idsWhere(({ fee }) => fee !== null),
      driverFreed: idsWhere(({ isFree }) => isFree),
      // A driver who was freed isn't occupied again by the same acceptance.
      driverOccupied: idsWhere(({ isFree, isOccupied }) => isFree || isOccupied !== false),
    };
  }

  private async miles(transits: readonly Transit[]): Promise<Set<string>> {
    // Without an active account no miles are credited, so loyalty holds none.
    const [credited, others] = [transits.filter(({ miles }) => miles), transits.filter(({ miles }) => !miles)];
    const held = new Set(others.map(({ id }) => id));
    if (credited.length === 0) return held;
    const transitIds = credited.map(({ id }) => id);
    for (const { transitId } of await this.queries.execute(new ReadTransitMiles({ transitIds }))) held.add(transitId);
    return held;
  }

  private async invoices(transits: readonly Transit[]): Promise<Set<string>> {
    if (transits.length === 0) return new Set();
    return new Set(await this.queries.execute(new ReadInvoicedTransits({ transitIds: transits.map(({ id }) => id) })));
  }
}
