import { Injectable } from '@nestjs/common';
import { CommandBus, CommandHandler, EventBus, EventsHandler } from '@nestjs/cqrs';
import type {
  CausedBy,
  DurableCommandBatchHandler,
  DurableEventBatchHandler,
} from '../../infrastructure/contracts/batch-handler.js';
import { Reject } from '../../infrastructure/contracts/message.js';
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
export class CompleteTransitHandler implements DurableCommandBatchHandler<CompleteTransit> {
  constructor(
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly completion: Completion,
  ) {}

  async executeMany(messages: readonly CompleteTransit[], causedBy: CausedBy<CompleteTransit>): Promise<void> {
    const transits = await this.transits.findAll(messages.map(({ subject }) => subject));
    for (const message of messages) await causedBy(message, () => this.complete(known(transits, message.subject)));
  }

  private async complete(transit: Transit): Promise<void> {
    if (transit.status !== 'COMPLETING' || !transit.reached) return; // already completed
    if (transit.reachedId === transit.destinationId) {
      await this.completion.complete(transit, transit.distanceMetres);
    } else {
      await this.commands.execute(
        new UpdateDestination(transit.id, { from: transit.pickup, destination: transit.reached }),
      );
    }
  }
}

@EventsHandler(DestinationUpdated)
export class CompleteTransitOnDestinationUpdated implements DurableEventBatchHandler<DestinationUpdated> {
  constructor(
    private readonly transits: Transits,
    private readonly completion: Completion,
  ) {}

  /** Ignores answers for a transit that is not over, or for an earlier destination. */
  async handleMany(events: readonly DestinationUpdated[], causedBy: CausedBy<DestinationUpdated>): Promise<void> {
    const transits = await this.transits.findAll(events.map(({ subject }) => subject));
    for (const event of events) {
      const { addressId, distanceMetres } = event.data;
      const transit = known(transits, event.subject);
      if (transit.status === 'COMPLETING' && transit.reachedId === addressId)
        await causedBy(event, () => this.completion.complete(transit, distanceMetres));
    }
  }
}

/** @throws Reject when there is no such transit */
function known(transits: ReadonlyMap<string, Transit>, id: string): Transit {
  const transit = transits.get(id);
  if (!transit) throw new Reject(`There is no transit ${id}`);
  return transit;
}
