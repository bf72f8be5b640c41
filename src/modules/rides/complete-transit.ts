import { Injectable } from '@nestjs/common';
import { CommandBus, CommandHandler, EventBus, EventsHandler } from '@nestjs/cqrs';
import {
  Reject,
  type DurableCommandHandler,
  type DurableEventHandler,
} from '../../infrastructure/contracts/message.js';
import { CalculateFee, FreeDriver } from '../drivers/contract.js';
import { DestinationUpdated, UpdateDestination } from '../geolocation/contract.js';
import { IssueInvoice } from '../invoicing/contract.js';
import { RegisterMiles } from '../loyalty/contract.js';
import { CompleteTransit, TransitCompleted } from './contract.js';
import { Transits } from './transits.store.js';
import type { Transit } from './tables.js';
import { priceCents } from './tariff.js';

/** Gives a ride that is over its price, says so, and asks the others for what follows from it. */
@Injectable()
export class Completion {
  constructor(
    private readonly rides: Transits,
    private readonly commands: CommandBus,
    private readonly events: EventBus,
  ) {}

  async complete(ride: Transit, distanceMetres: number): Promise<void> {
    const { id, clientId, driverId, clientName, startedAt, completingAt, reached, reachedId } = ride;
    if (driverId === null || !startedAt || !completingAt || !reached || !reachedId) {
      throw new Reject(`Transit ${id} is COMPLETING without having been in transit`);
    }
    const price = priceCents(distanceMetres, ride.tariff);
    // It was over when the user said so, not when we got round to it.
    const completed = { status: 'COMPLETED', price, distanceMetres, completedAt: completingAt } as const;
    const destination = { destination: reached, destinationId: reachedId };
    if (!(await this.rides.changeIf({ id, status: 'COMPLETING' }, { ...completed, ...destination }))) return;
    const times = { startedAt, completedAt: completingAt };
    this.events.publish(new TransitCompleted(id, { clientId, driverId, price, distanceMetres, ...times }));
    await this.commands.execute(new CalculateFee(id, { driverId, transitPrice: price }));
    await this.commands.execute(new FreeDriver(id, { driverId }));
    await this.commands.execute(new RegisterMiles(id, { clientId }));
    await this.commands.execute(new IssueInvoice(id, { amount: price, subjectName: clientName }));
  }
}

@CommandHandler(CompleteTransit)
export class CompleteTransitHandler implements DurableCommandHandler<CompleteTransit> {
  constructor(
    private readonly rides: Transits,
    private readonly commands: CommandBus,
    private readonly completion: Completion,
  ) {}

  async execute({ subject: id }: CompleteTransit): Promise<void> {
    const ride = await this.rides.find(id);
    if (!ride) throw new Reject(`There is no transit ${id}`);
    if (ride.status !== 'COMPLETING' || !ride.reached) return; // completed already
    if (ride.reachedId === ride.destinationId) {
      await this.completion.complete(ride, ride.distanceMetres);
    } else {
      await this.commands.execute(new UpdateDestination(id, { from: ride.pickup, destination: ride.reached }));
    }
  }
}

@EventsHandler(DestinationUpdated)
export class CompleteTransitOnDestinationUpdated implements DurableEventHandler<DestinationUpdated> {
  constructor(
    private readonly rides: Transits,
    private readonly completion: Completion,
  ) {}

  /** Destinations are also updated before a ride is over, and the answer may be late: then there is nothing to do. */
  async handle({ subject: id, data: { addressId, distanceMetres } }: DestinationUpdated): Promise<void> {
    const ride = await this.rides.find(id);
    if (!ride) throw new Reject(`There is no transit ${id}`);
    if (ride.status === 'COMPLETING' && ride.reachedId === addressId)
      await this.completion.complete(ride, distanceMetres);
  }
}
