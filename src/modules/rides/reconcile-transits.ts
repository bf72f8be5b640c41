import { Injectable } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { In } from 'typeorm';
import {
  ModuleReconciler,
  type Discrepancy,
  type ReconciliationPage,
  type Reconciler,
} from '../../infrastructure/maintenance/reconciler.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { FreeDriver, ReadOccupiedDrivers } from '../drivers/contract.js';
import { HeldEffects } from './held-effects.js';
import { lastStepAt } from './last-step.js';
import { Transit } from './tables.js';
import { effectsOf } from './transit-effects.js';
import { isOnItsWay, isWhole, positionAfter, scanAfter, type TransitScan } from './transit-scan.js';
import { Transits } from './transits.store.js';

/**
 * Sends again the command of each effect that a transit should have, and that its owner doesn't hold or whose answer
 * rides doesn't have. Then frees the drivers who are occupied with a transit that they don't have here.
 *
 * `TransitScan` tells which transits a run reads.
 */
@ModuleReconciler()
@Injectable()
export class ReconcileTransits implements Reconciler {
  constructor(
    private readonly work: UnitOfWork,
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly held: HeldEffects,
    private readonly clock: Clock,
  ) {}

  async page(after: string | undefined, limit: number, minAgeMs: number, isFull: boolean): Promise<ReconciliationPage> {
    const isRecent = this.isRecent(minAgeMs);
    if (after?.startsWith('driver ')) return this.driverPage(Number(after.split(' ')[1]), limit, isRecent);
    const page = await this.transitPage(scanAfter(after, isFull), limit, isRecent);
    if (page.last) return page;
    const { discrepancies, last } = await this.driverPage(0, limit, isRecent);
    const known = new Set(page.discrepancies.map(keyOf));
    const more = discrepancies.filter((it) => !known.has(keyOf(it)));
    return { ...page, discrepancies: [...page.discrepancies, ...more], ...(last && { last }) };
  }

  /** The latest transits first: users wait for those. */
  private async transitPage(
    scan: TransitScan,
    limit: number,
    isRecent: (transit: Transit) => boolean,
  ): Promise<ReconciliationPage> {
    const found = await this.read(scan, limit);
    const examined = found.filter((transit) => !isRecent(transit));
    const discrepancies = await this.discrepanciesOf(examined);
    const lacking = new Set(discrepancies.map(({ subject }) => subject));
    const last = found.length === limit ? positionAfter(scan, found, { examined, lacking }) : undefined;
    return {
      examined: examined.length,
      skipped: found.length - examined.length,
      discrepancies,
      ...(last && { last }),
      remember: async () => {
        const isLacking = ({ id }: Transit) => lacking.has(id);
        await this.transits.markWhole(examined.filter((it) => !isWhole(it) && !isLacking(it) && !isOnItsWay(it)));
        await this.transits.unmarkWhole(examined.filter((it) => isWhole(it) && isLacking(it)));
      },
    };
  }

  private read({ scope, requestedAt, id }: TransitScan, limit: number): Promise<Transit[]> {
    const query = this.work.repository(Transit).createQueryBuilder('transit');
    // The condition of a partial index, without a parameter.
    if (scope === 'transit') query.andWhere('transit.wholeIn <> transit.status');
    if (id) query.andWhere('(transit.requestedAt, transit.id) < (:requestedAt, :id)', { requestedAt, id });
    return query.orderBy('transit.requestedAt', 'DESC').addOrderBy('transit.id', 'DESC').take(limit).getMany();
  }

  private async discrepanciesOf(transits: readonly Transit[]): Promise<Discrepancy[]> {
    const held = await this.held.of(transits);
    return transits.flatMap((transit) =>
      effectsOf(transit)
        .filter(({ name, isAnswered }) => !isAnswered || !held[name]?.has(transit.id))
        .map(({ name, command }) => this.discrepancy(name, transit.id, command)),
    );
  }

  /**
   * Finds drivers who are occupied with a transit that is not stored here, that has no driver or another one, or that is
   * over and isn't read any more.
   */
  private async driverPage(
    after: number,
    limit: number,
    isRecent: (transit: Transit) => boolean,
  ): Promise<ReconciliationPage> {
    const occupied = await this.queries.execute(new ReadOccupiedDrivers({ after, limit }));
    // Read after the answer: a transit is stored before its driver is occupied.
    const ids = occupied.map(({ transitId }) => transitId);
    const stored = await this.work.repository(Transit).findBy({ id: In(ids) });
    const transits = new Map(stored.map((transit) => [transit.id, transit]));
    const astray = occupied.filter(({ driverId, transitId }) => {
      const transit = transits.get(transitId);
      if (!transit) return true;
      return transit.driverId === driverId ? isWhole(transit) : !isRecent(transit);
    });
    return {
      // These drivers' transits are counted by their own pages.
      examined: 0,
      discrepancies: astray.map(({ transitId, ...occupied }) => {
        // The driver may accept a transit of another driver again.
        const { driverId } = occupied;
        const isOfOther = transits.has(transitId) && transits.get(transitId)?.driverId !== driverId;
        const command = new FreeDriver(transitId, isOfOther ? occupied : { driverId });
        return this.discrepancy('driverFreed', transitId, command);
      }),
      ...(occupied.length === limit && { last: `driver ${occupied.at(-1)!.driverId}` }),
    };
  }

  private discrepancy(what: string, subject: string, command: object): Discrepancy {
    return { what, subject, send: () => this.commands.execute(command) };
  }

  /** Whether messages of a transit may still be in flight. So they may when its times lie in the future: a clock was wrong. */
  private isRecent(minAgeMs: number): (transit: Transit) => boolean {
    const now = this.clock.now().getTime();
    return (transit) => minAgeMs > 0 && now - lastStepAt(transit) < minAgeMs;
  }
}

function keyOf({ what, subject }: Discrepancy): string {
  return `${what} ${subject}`;
}
