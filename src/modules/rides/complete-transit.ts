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

/** Sets the price of a transit that is over, publishes TransitCompleted, and sends the commands that settle it. */
@Injectable()
export class Completion {
  constructor(
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly events: EventBus,
  ) {}

  async complete(transit: Transit, distanceMetres: number): Promise<void> {
    const { id, clientId, driverId, clientName, startedAt, completingAt, reached, reachedId } = transit;
    if (driverId === null || !startedAt || !completingAt || !reached || !reachedId) {
      throw new Reject(`Transit ${id} is COMPLETING, but lacks its driver, its start or its destination`);
    }
    const price = priceCents(distanceMetres, transit.tariff);
    // The transit ended when the user said so, not when this message was handled.
    const completed = { status: 'COMPLETED', price, distanceMetres, completedAt: completingAt } as const;
    const destination = { destination: reached, destinationId: reachedId };
    if (!(await this.transits.changeIf({ id, status: 'COMPLETING' }, { ...completed, ...destination }))) return;
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
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly completion: Completion,
  ) {}

  async execute({ subject: id }: CompleteTransit): Promise<void> {
    const transit = await this.transits.find(id);
    if (!transit) throw new Reject(`There is no transit ${id}`);
    if (transit.status !== 'COMPLETING' || !transit.reached) return; // already completed
    if (transit.reachedId === transit.destinationId) {
      await this.completion.complete(transit, transit.distanceMetres);
    } else {
      await this.commands.execute(new UpdateDestination(id, { from: transit.pickup, destination: transit.reached }));
    }
  }
}

@EventsHandler(DestinationUpdated)
export class CompleteTransitOnDestinationUpdated implements DurableEventHandler<DestinationUpdated> {
  constructor(
    private readonly transits: Transits,
    private readonly completion: Completion,
  ) {}

  /** Ignores answers for a transit that is not over, or for an earlier destination. */
  async handle({ subject: id, data: { addressId, distanceMetres } }: DestinationUpdated): Promise<void> {
    const transit = await this.transits.find(id);
    if (!transit) throw new Reject(`There is no transit ${id}`);
    if (transit.status === 'COMPLETING' && transit.reachedId === addressId)
      await this.completion.complete(transit, distanceMetres);
  }
}
