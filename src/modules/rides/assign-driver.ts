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

  async handle({ subject: id, data }: DriverOccupied): Promise<void> {
    const { driverId } = data;
    const changes = { status: 'TRANSIT_TO_PASSENGER', acceptedAt: this.clock.now().toISOString() } as const;
    // Ignores the answer to an earlier attempt: the driver may have been freed since.
    if (await this.transits.changeIf({ id, status: 'ACCEPTING', ...data }, changes)) return;
    const transit = await this.transits.find(id);
    const isOpen = transit !== null && transit.status !== 'CANCELLED';
    if (isOpen && transit.driverId === driverId) return;
    // The transit was cancelled, or this driver doesn't have it: no other message would free the driver. They may accept an
    // open transit again.
    await this.commands.execute(new FreeDriver(id, isOpen ? data : { driverId }));
  }
}

@EventsHandler(DriverRefused)
export class WaitOnDriverRefused implements DurableEventHandler<DriverRefused> {
  constructor(private readonly transits: Transits) {}

  async handle({ subject: id, data: { driverId, attempt } }: DriverRefused): Promise<void> {
    const changes = { status: 'WAITING_FOR_DRIVER_ASSIGNMENT', driverId: null, acceptedAt: null } as const;
    await this.transits.changeIf({ id, status: 'ACCEPTING', driverId, ...(attempt && { attempt }) }, changes);
  }
}
