import { Injectable } from '@nestjs/common';
import { In, type FindOptionsWhere, type Repository } from 'typeorm';
import type { z } from 'zod';
import { Conflict, Forbidden, NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import type { transit } from './contract.js';
import { TransitNotifier } from './transit-notifier.js';
import { Transit } from './tables.js';
import { ALLOWED_FROM, type Action, type Status } from './transit.js';

export type TransitView = z.infer<typeof transit>;
type Changes = Parameters<Repository<Transit>['update']>[1];
type Where = FindOptionsWhere<Transit> & { id: string };

/** Rides are changed here and nowhere else: by one conditional statement, never by writing back what was read. */
@Injectable()
export class Transits {
  constructor(
    private readonly work: UnitOfWork,
    private readonly notifier: TransitNotifier,
  ) {}

  async find(id: string): Promise<Transit | null> {
    return this.work.repository(Transit).findOneBy({ id });
  }

  /** @throws NotFound */
  async get(id: string): Promise<Transit> {
    const found = await this.find(id);
    if (!found) throw new NotFound(`There is no transit ${id}`, 'id');
    return found;
  }

  async insert(ride: Parameters<Repository<Transit>['insert']>[0]): Promise<void> {
    await this.work.repository(Transit).insert(ride);
  }

  /**
   * Does something to a ride if its state allows it.
   * @param also what else must be true of it
   * @returns the ride as it is now
   * @throws NotFound, or Conflict that tells the state
   */
  async change(id: string, action: Action, changes: Changes, also: FindOptionsWhere<Transit> = {}): Promise<Transit> {
    const done = await this.changeIf({ ...also, id, status: In([...ALLOWED_FROM[action]]) }, changes);
    const ride = await this.get(id);
    if (!done) throw wrongState(ride, action);
    return ride;
  }

  /** The ride, if something could be done to it. @throws NotFound, or Conflict that tells the state */
  async assertAllows(id: string, action: Action): Promise<Transit> {
    const ride = await this.get(id);
    if (!(ALLOWED_FROM[action] as readonly Status[]).includes(ride.status)) throw wrongState(ride, action);
    return ride;
  }

  /** Changes a ride if it is as `where` says. @returns whether it was */
  async changeIf(where: Where, changes: Changes): Promise<boolean> {
    const { affected } = await this.work.repository(Transit).update(where, changes);
    if (!affected) return false;
    this.work.unit.afterCommit(() => this.notifier.changed(where.id));
    return true;
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
  return new Conflict(`Transit ${id} is ${status}: it can't ${WORDS[action]} now`);
}

/** @throws Forbidden when somebody else than the assigned driver is named */
export function assertAssigned(ride: Transit, driverId: number | undefined): void {
  if (driverId !== undefined && driverId !== ride.driverId) {
    throw new Forbidden(`Transit ${ride.id} isn't driver ${driverId}'s`, 'driverId');
  }
}

/** A ride as it is shown. */
export function transitView(ride: Transit): TransitView {
  const { id, status, clientId, carClass, distanceMetres, tariff, estimatedPrice, requestedAt } = ride;
  const isOver = status === 'COMPLETING' || status === 'COMPLETED';
  const settlement = {
    driverFee: ride.driverFeeSettled,
    driverFreed: ride.driverFreedSettled,
    miles: ride.milesSettled,
    invoice: ride.invoiceSettled,
  };
  const isPending = Object.values(settlement).includes('pending');
  return {
    ...{ id, status, clientId },
    ...present({ driverId: ride.driverId }),
    carClass,
    from: { id: ride.pickupId, ...ride.pickup },
    to: { id: ride.reachedId ?? ride.destinationId, ...(ride.reached ?? ride.destination) },
    distanceKm: distanceMetres / 1000,
    ...{ tariff, estimatedPrice },
    ...present({ price: ride.price, driverFee: ride.driverFee }),
    requestedAt,
    ...present({ publishedAt: ride.publishedAt, acceptedAt: ride.acceptedAt, startedAt: ride.startedAt }),
    ...present({ completedAt: ride.completedAt, cancelledAt: ride.cancelledAt }),
    ...(isOver && { settlement, ...(isPending && present({ settlementSince: ride.completingAt })) }),
  };
}

/** The fields that have a value. */
function present<Fields extends object>(fields: Fields): { [Key in keyof Fields]?: NonNullable<Fields[Key]> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)) as never;
}
