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

/** A transit that is over, how far it went, and the message that says so. */
interface Ended<Message> {
  readonly message: Message;
  readonly transit: Transit;
  readonly distanceMetres: number;
}

/** Sets the price of transits that are over, publishes TransitCompleted, and sends the commands that settle them. */
@Injectable()
export class Completion {
  constructor(
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly events: EventBus,
  ) {}

  async complete<Message>(ended: readonly Ended<Message>[], causedBy: CausedBy<Message>): Promise<void> {
    if (ended.length === 0) return;
    const ends = new Map(ended.map(({ transit, distanceMetres }) => [transit.id, endOf(transit, distanceMetres)]));
    const completed = await this.transits.complete(ends);
    for (const { message, transit } of ended) {
      if (completed.has(transit.id)) await causedBy(message, () => this.announce(transit, ends.get(transit.id)!));
    }
  }

  private async announce({ id, clientId, clientName }: Transit, end: End): Promise<void> {
    const { driverId, price } = end;
    this.events.publish(new TransitCompleted(id, { clientId, ...end }));
    await this.commands.execute(new CalculateFee(id, { driverId, transitPrice: price }));
    await this.commands.execute(new FreeDriver(id, { driverId }));
    await this.commands.execute(new RegisterMiles(id, { clientId }));
    await this.commands.execute(new IssueInvoice(id, { amount: price, subjectName: clientName }));
  }
}

type End = ReturnType<typeof endOf>;

/** @throws Reject for a transit that can't have ended */
function endOf({ id, driverId, startedAt, completingAt, reached, reachedId, tariff }: Transit, distanceMetres: number) {
  if (driverId === null || !startedAt || !completingAt || !reached || !reachedId) {
    throw new Reject(`Transit ${id} is COMPLETING, but lacks its driver, its start or its destination`);
  }
  const price = priceCents(distanceMetres, tariff);
  // The transit ended when the user said so, not when this message is handled.
  return { driverId, price, distanceMetres, startedAt, completedAt: completingAt };
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
    const ended: Ended<CompleteTransit>[] = [];
    for (const message of messages) {
      const transit = known(transits, message.subject);
      const { id, status, reached, reachedId, destinationId, pickup, distanceMetres } = transit;
      if (status !== 'COMPLETING' || !reached) continue; // already completed
      if (reachedId === destinationId) ended.push({ message, transit, distanceMetres });
      else
        await causedBy(message, () =>
          this.commands.execute(new UpdateDestination(id, { from: pickup, destination: reached })),
        );
    }
    await this.completion.complete(ended, causedBy);
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
    const ended = events
      .map((message) => ({ message, transit: known(transits, message.subject), ...message.data }))
      .filter(({ transit, addressId }) => transit.status === 'COMPLETING' && transit.reachedId === addressId);
    await this.completion.complete(ended, causedBy);
  }
}

/** @throws Reject when there is no such transit */
function known(transits: ReadonlyMap<string, Transit>, id: string): Transit {
  const transit = transits.get(id);
  if (!transit) throw new Reject(`There is no transit ${id}`);
  return transit;
}
