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
import { Transit } from './tables.js';
import { effectsOf } from './transit-effects.js';

/**
 * Sends again the command of each effect that a transit should have, and that its owner doesn't hold or whose answer
 * rides doesn't have. Then frees the drivers who are occupied with a transit that they don't have here.
 *
 * Positions are `transit <requestedAt> <id>`, and then `driver <id>`.
 */
@ModuleReconciler()
@Injectable()
export class ReconcileTransits implements Reconciler {
  constructor(
    private readonly work: UnitOfWork,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly held: HeldEffects,
    private readonly clock: Clock,
  ) {}

  async page(after: string | undefined, limit: number, minAgeMs: number): Promise<ReconciliationPage> {
    const [kind, ...position] = after?.split(' ') ?? [];
    const isRecent = this.isRecent(minAgeMs);
    if (kind === 'driver') return this.driverPage(Number(position[0]), limit, isRecent);
    const page = await this.transitPage(kind === 'transit' ? position : undefined, limit, isRecent);
    if (page.last) return page;
    const { discrepancies, last } = await this.driverPage(0, limit, isRecent);
    return { ...page, discrepancies: [...page.discrepancies, ...discrepancies], ...(last && { last }) };
  }

  /** The latest transits first: users wait for those. */
  private async transitPage(
    position: readonly string[] | undefined,
    limit: number,
    isRecent: (transit: Transit) => boolean,
  ): Promise<ReconciliationPage> {
    const query = this.work.repository(Transit).createQueryBuilder('transit');
    if (position) {
      const [requestedAt, id] = position;
      query.where('(transit.requestedAt, transit.id) < (:requestedAt, :id)', { requestedAt, id });
    }
    const found = await query
      .orderBy('transit.requestedAt', 'DESC')
      .addOrderBy('transit.id', 'DESC')
      .take(limit)
      .getMany();
    const transits = found.filter((transit) => !isRecent(transit));
    const last = found.length === limit ? found.at(-1)! : undefined;
    return {
      examined: transits.length,
      skipped: found.length - transits.length,
      discrepancies: await this.discrepanciesOf(transits),
      ...(last && { last: `transit ${last.requestedAt} ${last.id}` }),
    };
  }

  private async discrepanciesOf(transits: readonly Transit[]): Promise<Discrepancy[]> {
    const held = await this.held.of(transits);
    return transits.flatMap((transit) =>
      effectsOf(transit)
        .filter(({ name, isAnswered }) => !isAnswered || !held[name]?.has(transit.id))
        .map(({ name, command }) => this.discrepancy(name, transit.id, command)),
    );
  }

  /** Finds drivers who are occupied with a transit that is not stored here, or that has no driver or another one. */
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
      return !transit || (transit.driverId !== driverId && !isRecent(transit));
    });
    return {
      // These drivers' transits are counted by their own pages.
      examined: 0,
      discrepancies: astray.map(({ transitId, ...occupied }) => {
        // The driver may accept a transit that is stored here again.
        const { driverId } = occupied;
        const command = new FreeDriver(transitId, transits.has(transitId) ? occupied : { driverId });
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

/** In ms since 1970. A change of the destination has no time: sending UpdateDestination twice does no harm. */
function lastStepAt(transit: Transit): number {
  const { requestedAt, publishedAt, acceptedAt, startedAt, completingAt, cancelledAt } = transit;
  const times = [requestedAt, publishedAt, acceptedAt, startedAt, completingAt, cancelledAt];
  return Math.max(...times.filter((it) => it !== null).map((it) => Date.parse(it)));
}
