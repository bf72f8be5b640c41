import { Inject, Injectable } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { ridesConfig, type Settings } from '../../config-namespaces.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import {
  ModuleReconciler,
  type Discrepancy,
  type ReconciliationPage,
  type Reconciler,
} from '../../infrastructure/maintenance/reconciler.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { CalculateFee, FreeDriver, ReadSettledTransits } from '../drivers/contract.js';
import { IssueInvoice, ReadInvoicedTransits } from '../invoicing/contract.js';
import { ReadTransitMiles, RegisterMiles } from '../loyalty/contract.js';
import { CompleteTransit } from './contract.js';
import { Transit } from './tables.js';

/** The ids of the transits for which the owners hold a fee, a free driver, miles or an invoice. */
interface Held {
  readonly fees: ReadonlySet<string>;
  readonly free: ReadonlySet<string>;
  readonly miles: ReadonlySet<string>;
  readonly invoices: ReadonlySet<string>;
}

/**
 * A transit that is over must have a price, a fee, an invoice, its miles if some were credited, and a freed driver, and
 * rides must have each of the answers. The command for what is missing is sent again: its handler is idempotent, and
 * answers again.
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

  /** The oldest transits first. Recent ones are left out, because their messages may still be in flight. */
  async page(after: string | undefined, limit: number): Promise<ReconciliationPage> {
    const transits = await this.transitsOver(after, limit);
    const held = await this.held(transits.filter(({ status }) => status === 'COMPLETED'));
    const last = transits.length === limit ? transits.at(-1)! : undefined;
    return {
      examined: transits.length,
      discrepancies: transits.flatMap((transit) => this.discrepanciesOf(transit, held)),
      ...(last && { last: `${last.completingAt} ${last.id}` }),
    };
  }

  private async transitsOver(after: string | undefined, limit: number): Promise<Transit[]> {
    const until = new Date(this.clock.now().getTime() - this.settings.reconcileAfterMs).toISOString();
    const [completingAt, id] = after?.split(' ') ?? ['', ''];
    return this.work
      .repository(Transit)
      .createQueryBuilder('transit')
      .where('transit.completingAt IS NOT NULL AND transit.completingAt < :until', { until })
      .andWhere('(transit.completingAt, transit.id) > (:completingAt, :id)', { completingAt, id })
      .orderBy('transit.completingAt')
      .addOrderBy('transit.id')
      .take(limit)
      .getMany();
  }

  /** @throws Unavailable when an owner doesn't answer */
  private async held(transits: readonly Transit[]): Promise<Held> {
    const driven = transits.map(({ id, driverId }) => ({ transitId: id, driverId: driverId! }));
    const transitIds = transits.map(({ id }) => id);
    if (transits.length === 0) return { fees: new Set(), free: new Set(), miles: new Set(), invoices: new Set() };
    const [settled, miles, invoices] = await Promise.all([
      this.queries.execute(new ReadSettledTransits({ transits: driven })),
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

  /** What an owner doesn't hold, and what rides has no answer for. */
  private discrepanciesOf(transit: Transit, held: Held): Discrepancy[] {
    const { id, clientId, clientName, reached } = transit;
    const [driverId, price] = [transit.driverId!, transit.price!];
    const discrepancy = (what: string, command: object): Discrepancy[] => [
      { what, subject: id, send: () => this.commands.execute(command) },
    ];
    if (transit.status !== 'COMPLETED') {
      return reached ? discrepancy('completion', new CompleteTransit(id, { transitId: id, destination: reached })) : [];
    }
    const isAnswered = (settled: string) => settled === 'settled';
    const hasFee = transit.driverFeeSettled === 'failed' || (held.fees.has(id) && isAnswered(transit.driverFeeSettled));
    const isFree = held.free.has(id) && isAnswered(transit.driverFreedSettled);
    // Without an active account no miles are credited, so loyalty holds none.
    const hasMiles = isAnswered(transit.milesSettled) && (held.miles.has(id) || !transit.miles);
    const hasInvoice = held.invoices.has(id) && isAnswered(transit.invoiceSettled);
    return [
      ...(hasFee ? [] : discrepancy('driverFee', new CalculateFee(id, { driverId, transitPrice: price }))),
      ...(isFree ? [] : discrepancy('driverFreed', new FreeDriver(id, { driverId }))),
      ...(hasMiles ? [] : discrepancy('miles', new RegisterMiles(id, { clientId }))),
      ...(hasInvoice ? [] : discrepancy('invoice', new IssueInvoice(id, { amount: price, subjectName: clientName }))),
    ];
  }
}
