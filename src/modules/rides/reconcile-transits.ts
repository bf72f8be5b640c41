import { Inject, Injectable } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { ridesConfig, type Settings } from '../../config-namespaces.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import {
  ModuleReconciler,
  type Discrepancy,
  type ReconciliationPage,
  type Reconciler,
} from '../../infrastructure/maintenance/reconciliation.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { CalculateFee, FreeDriver, ReadSettledTransits } from '../drivers/contract.js';
import { IssueInvoice, ReadInvoicedTransits } from '../invoicing/contract.js';
import { ReadTransitMiles, RegisterMiles } from '../loyalty/contract.js';
import { CompleteTransit } from './contract.js';
import { Transit } from './tables.js';

/** What the owners hold of some rides. */
interface Held {
  readonly fees: ReadonlySet<string>;
  readonly free: ReadonlySet<string>;
  readonly miles: ReadonlySet<string>;
  readonly invoices: ReadonlySet<string>;
}

/**
 * Every ride that is over should have a price, one fee, one invoice, its miles where it was granted some, and a driver
 * who is free of it; and rides should know of each. What lacks is asked for again: owners do it once, and answer again.
 */
@ModuleReconciler()
@Injectable()
export class ReconcileTransits implements Reconciler {
  constructor(
    private readonly work: UnitOfWork,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly clock: Clock,
    @Inject(ridesConfig.KEY) private readonly settings: Settings<typeof ridesConfig>,
  ) {}

  /** The oldest first. Those that have ended lately are left alone: what follows from them may be on its way. */
  async page(after: string | undefined, limit: number): Promise<ReconciliationPage> {
    const rides = await this.transitsOver(after, limit);
    const held = await this.held(rides.filter(({ status }) => status === 'COMPLETED'));
    const last = rides.length === limit ? rides.at(-1)! : undefined;
    return {
      examined: rides.length,
      discrepancies: rides.flatMap((ride) => this.lacksOf(ride, held)),
      ...(last && { last: `${last.completingAt} ${last.id}` }),
    };
  }

  private async transitsOver(after: string | undefined, limit: number): Promise<Transit[]> {
    const until = new Date(this.clock.now().getTime() - this.settings.reconcileAfterMs).toISOString();
    const [completingAt, id] = after?.split(' ') ?? ['', ''];
    return this.work
      .repository(Transit)
      .createQueryBuilder('ride')
      .where('ride.completingAt IS NOT NULL AND ride.completingAt < :until', { until })
      .andWhere('(ride.completingAt, ride.id) > (:completingAt, :id)', { completingAt, id })
      .orderBy('ride.completingAt')
      .addOrderBy('ride.id')
      .take(limit)
      .getMany();
  }

  /** @throws Unavailable */
  private async held(rides: readonly Transit[]): Promise<Held> {
    const transits = rides.map(({ id, driverId }) => ({ transitId: id, driverId: driverId! }));
    const transitIds = rides.map(({ id }) => id);
    if (rides.length === 0) return { fees: new Set(), free: new Set(), miles: new Set(), invoices: new Set() };
    const [settled, miles, invoices] = await Promise.all([
      this.queries.execute(new ReadSettledTransits({ transits })),
      this.queries.execute(new ReadTransitMiles({ transitIds })),
      this.queries.execute(new ReadInvoicedTransits({ transitIds })),
    ]);
    return {
      fees: new Set(settled.filter(({ fee }) => fee !== null).map(({ transitId }) => transitId)),
      free: new Set(settled.filter(({ isFree }) => isFree).map(({ transitId }) => transitId)),
      miles: new Set(miles.map(({ transitId }) => transitId)),
      invoices: new Set(invoices),
    };
  }

  /** What the owner lacks, and what he has and rides hasn't heard of. */
  private lacksOf(ride: Transit, held: Held): Discrepancy[] {
    const { id, clientId, clientName, reached } = ride;
    const [driverId, price] = [ride.driverId!, ride.price!];
    const lack = (what: string, command: object): Discrepancy[] => [
      { what, subject: id, send: () => this.commands.execute(command) },
    ];
    if (ride.status !== 'COMPLETED') {
      return reached ? lack('completion', new CompleteTransit(id, { transitId: id, destination: reached })) : [];
    }
    const isHeard = (settled: string) => settled === 'settled';
    const hasFee = ride.driverFeeSettled === 'failed' || (held.fees.has(id) && isHeard(ride.driverFeeSettled));
    const isFree = held.free.has(id) && isHeard(ride.driverFreedSettled);
    // Without an active account there are no miles, and nothing to look for.
    const hasMiles = isHeard(ride.milesSettled) && (held.miles.has(id) || !ride.miles);
    const hasInvoice = held.invoices.has(id) && isHeard(ride.invoiceSettled);
    return [
      ...(hasFee ? [] : lack('driverFee', new CalculateFee(id, { driverId, transitPrice: price }))),
      ...(isFree ? [] : lack('driverFreed', new FreeDriver(id, { driverId }))),
      ...(hasMiles ? [] : lack('miles', new RegisterMiles(id, { clientId }))),
      ...(hasInvoice ? [] : lack('invoice', new IssueInvoice(id, { amount: price, subjectName: clientName }))),
    ];
  }
}
