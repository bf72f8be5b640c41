import { CommandBus, EventsHandler } from '@nestjs/cqrs';
import { Clock } from '../../infrastructure/observability/clock.js';
import type { DurableEventHandler } from '../../infrastructure/contracts/message.js';
import { FreeDriver, DriverOccupied, DriverRefused } from '../drivers/contract.js';
import { Transits } from './transits.store.js';

@EventsHandler(DriverOccupied)
export class AssignDriverOnDriverOccupied implements DurableEventHandler<DriverOccupied> {
  constructor(
    private readonly transits: Transits,
    private readonly commands: CommandBus,
    private readonly clock: Clock,
  ) {}

  async handle({ subject: id, data: { driverId } }: DriverOccupied): Promise<void> {
    const changes = { status: 'TRANSIT_TO_PASSENGER', acceptedAt: this.clock.now().toISOString() } as const;
    if (await this.transits.changeIf({ id, status: 'ACCEPTING', driverId }, changes)) return;
    const transit = await this.transits.find(id);
    const isAssigned = transit?.driverId === driverId && transit.status !== 'CANCELLED';
    // The transit was cancelled, or this driver never accepted it: no other message would free the driver.
    if (!isAssigned) await this.commands.execute(new FreeDriver(id, { driverId }));
  }
}

@EventsHandler(DriverRefused)
export class WaitOnDriverRefused implements DurableEventHandler<DriverRefused> {
  constructor(private readonly transits: Transits) {}

  async handle({ subject: id, data: { driverId } }: DriverRefused): Promise<void> {
    const changes = { status: 'WAITING_FOR_DRIVER_ASSIGNMENT', driverId: null, acceptedAt: null } as const;
    await this.transits.changeIf({ id, status: 'ACCEPTING', driverId }, changes);
  }
}
