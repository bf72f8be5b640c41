import { Injectable } from '@nestjs/common';
import { In, type FindOptionsWhere, type Repository } from 'typeorm';
import type { z } from 'zod';
import { Conflict, Forbidden, NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Reject } from '../../infrastructure/contracts/message.js';
import { updateReturning } from '../../infrastructure/persistence/update-returning.js';
import type { SqlParameter } from '../../infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import type { transit } from './contract.js';
import { TransitNotifier } from './transit-notifier.js';
import { Transit } from './tables.js';
import { ALLOWED_FROM, type Action, type Status } from './transit.js';

export type TransitView = z.infer<typeof transit>;
type Changes = Parameters<Repository<Transit>['update']>[1];
type Where = FindOptionsWhere<Transit> & { id: string };

/** All changes of transits go through this class: each is one conditional UPDATE, never a write of a row read before. */
@Injectable()
export class Transits {
  constructor(
    private readonly work: UnitOfWork,
    private readonly notifier: TransitNotifier,
  ) {}

  async find(id: string): Promise<Transit | null> {
    return this.work.repository(Transit).findOneBy({ id });
  }

  /** The transits that are there, by their ids. */
  async findAll(ids: readonly string[]): Promise<Map<string, Transit>> {
    const found = await this.work.repository(Transit).findBy({ id: In([...ids]) });
    return new Map(found.map((transit) => [transit.id, transit]));
  }

  /** @throws NotFound */
  async get(id: string): Promise<Transit> {
    const found = await this.find(id);
    if (!found) throw new NotFound(`There is no transit ${id}`, 'id');
    return found;
  }

  async insert(transit: Parameters<Repository<Transit>['insert']>[0]): Promise<void> {
    await this.work.repository(Transit).insert(transit);
  }

  /**
   * Changes a transit if its state allows the action.
   * @param also further conditions on its columns
   * @returns the transit after the change
   * @throws NotFound, or Conflict that names the state
   */
  async change(id: string, action: Action, changes: Changes, also: FindOptionsWhere<Transit> = {}): Promise<Transit> {
    const changed = await this.changeIf({ ...also, id, status: In([...ALLOWED_FROM[action]]) }, changes);
    if (!changed) throw wrongState(await this.get(id), action);
    return changed;
  }

  /** The transit, if its state allows the action. @throws NotFound, or Conflict that names the state */
  async assertAllows(id: string, action: Action): Promise<Transit> {
    const transit = await this.get(id);
    assertAllows(transit, action);
    return transit;
  }

  /** Changes a transit if `where` matches it. @returns the transit after the change; undefined when it doesn't match */
  async changeIf(where: Where, changes: Changes): Promise<Transit | undefined> {
    const [changed] = await updateReturning(this.work.repository(Transit), where, changes);
    if (changed) this.work.unit.afterCommit(() => this.notifier.changed(where.id));
    return changed;
  }

  /**
   * Completes the transits that are COMPLETING, in one statement.
   * @param ends the price in cents and the distance of each, by its id
   * @returns the ids of those that were COMPLETING
   */
  async complete(ends: ReadonlyMap<string, { price: number; distanceMetres: number }>): Promise<Set<string>> {
    const rows = [...ends].map(
      (_, n) => `($${3 * n + 1}, CAST($${3 * n + 2} AS integer), CAST($${3 * n + 3} AS integer))`,
    );
    return this.changeAll(
      `WITH end_of (id, price, distance_metres) AS (VALUES ${rows.join(', ')})
       UPDATE rides_transit SET status = 'COMPLETED', price = end_of.price, distance_metres = end_of.distance_metres,
         completed_at = completing_at, destination = reached, destination_id = reached_id FROM end_of
       WHERE rides_transit.id = end_of.id AND status = 'COMPLETING' RETURNING rides_transit.id AS id`,
      [...ends].flatMap(([id, { price, distanceMetres }]) => [id, price, distanceMetres]),
    );
  }

  /**
   * Stores the answers of another module about several transits, in one statement.
   * @param set assignments to columns of rides_transit, in which `answer.value` is the value
   * @param answers an integer or null for each transit
   * @throws Reject when there is no such transit
   */
  async settle(set: string, answers: ReadonlyMap<string, number | null>): Promise<void> {
    const ids = await this.settleIf(set, 'TRUE', answers);
    const missing = [...answers.keys()].find((id) => !ids.has(id));
    if (missing !== undefined) throw new Reject(`There is no transit ${missing}`);
  }

  /** As `settle()`, for the transits that also match a condition. @returns their ids */
  async settleIf(set: string, condition: string, answers: ReadonlyMap<string, number | null>): Promise<Set<string>> {
    const rows = [...answers].map((_, index) => `($${2 * index + 1}, CAST($${2 * index + 2} AS integer))`);
    return this.changeAll(
      `WITH answer (id, value) AS (VALUES ${rows.join(', ')})
       UPDATE rides_transit SET ${set} FROM answer
       WHERE rides_transit.id = answer.id AND ${condition} RETURNING rides_transit.id AS id`,
      [...answers].flat(),
    );
  }

  /** @param statement returns the ids of the transits that it changes. @returns these ids */
  private async changeAll(statement: string, parameters: SqlParameter[]): Promise<Set<string>> {
    const changed = await this.work.sql.all<{ id: string }>(statement, parameters);
    const ids = new Set(changed.map(({ id }) => id));
    this.work.unit.afterCommit(() => ids.forEach((id) => this.notifier.changed(id)));
    return ids;
  }

  /** Stores that all effects of transits were found, except of those that have changed since they were read. */
  async markWhole(transits: readonly Transit[]): Promise<void> {
    if (transits.length === 0) return;
    const rows = transits.map((_, n) => `($${3 * n + 1}, $${3 * n + 2}, $${3 * n + 3})`).join(', ');
    await this.work.sql.run(
      `UPDATE rides_transit SET whole_in = status WHERE (id, status, destination_id) IN (VALUES ${rows})`,
      transits.flatMap(({ id, status, destinationId }) => [id, status, destinationId]),
    );
  }

  /** Lets the reconcile loop look at transits again. */
  async unmarkWhole(transits: readonly Transit[]): Promise<void> {
    if (transits.length === 0) return;
    await this.work.repository(Transit).update({ id: In(transits.map(({ id }) => id)) }, { wholeIn: '' });
  }
}

const WORDS: Record<Action, string> = {
  publish: 'be published',
  accept: 'be accepted',
  reject: 'be rejected',
  start: 'be started',
  changeDestination: 'get another destination',
  cancel: 'be cancelled',
  complete: 'be completed',
};

function wrongState({ id, status }: Transit, action: Action): Conflict {
  const allowed = ALLOWED_FROM[action].join(', ');
  return new Conflict(`Transit ${id} is ${status}: it can ${WORDS[action]} when it is ${allowed}`);
}

/** @throws Conflict that names the state, if it doesn't allow the action */
export function assertAllows(transit: Transit, action: Action): void {
  if (!(ALLOWED_FROM[action] as readonly Status[]).includes(transit.status)) throw wrongState(transit, action);
}

/** @throws Forbidden for a driver who is not assigned to the transit */
export function assertAssigned(transit: Transit, driverId: number | undefined): void {
  if (driverId !== undefined && driverId !== transit.driverId) {
    throw new Forbidden(`Driver ${driverId} is not assigned to transit ${transit.id}`, 'driverId');
  }
}

/** A transit as the API shows it. */
export function transitView(transit: Transit): TransitView {
  const { id, status, clientId, carClass, distanceMetres, tariff, estimatedPrice, requestedAt } = transit;
  const isOver = status === 'COMPLETING' || status === 'COMPLETED';
  const settlement = {
    driverFee: transit.driverFeeSettled,
    driverFreed: transit.driverFreedSettled,
    miles: transit.milesSettled,
    invoice: transit.invoiceSettled,
  };
  const isPending = Object.values(settlement).includes('pending');
  return {
    id,
    status,
    clientId,
    ...present({ driverId: transit.driverId }),
    carClass,
    from: { id: transit.pickupId, ...transit.pickup },
    to: { id: transit.reachedId ?? transit.destinationId, ...(transit.reached ?? transit.destination) },
    distanceKm: distanceMetres / 1000,
    tariff,
    estimatedPrice,
    ...present({ price: transit.price, driverFee: transit.driverFee }),
    requestedAt,
    ...present({ publishedAt: transit.publishedAt, acceptedAt: transit.acceptedAt, startedAt: transit.startedAt }),
    ...present({ completedAt: transit.completedAt, cancelledAt: transit.cancelledAt }),
    ...(isOver && { settlement, ...(isPending && present({ settlementSince: transit.completingAt })) }),
  };
}

/** The fields that aren't null. */
function present<Fields extends object>(fields: Fields): { [Key in keyof Fields]?: NonNullable<Fields[Key]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)) as never;
}
