import { EventsHandler } from '@nestjs/cqrs';
import { IsNull } from 'typeorm';
import { Reject, type DurableEventHandler } from '../../infrastructure/contracts/message.js';
import { DriverFeeCalculated, DriverFeeRefused, DriverFreed } from '../drivers/contract.js';
import { InvoiceIssued } from '../invoicing/contract.js';
import { MilesRegistered } from '../loyalty/contract.js';
import { Transits } from './transits.store.js';
import type { Transit } from './tables.js';

/*
 * The owners' answers. Each touches columns of its own, so that they can come in any order and at the same time.
 */

@EventsHandler(DriverFeeCalculated)
export class SettleOnDriverFeeCalculated implements DurableEventHandler<DriverFeeCalculated> {
  constructor(private readonly rides: Transits) {}

  handle({ subject, data: { fee } }: DriverFeeCalculated): Promise<void> {
    return settle(this.rides, subject, { driverFee: fee, driverFeeSettled: 'settled' });
  }
}

@EventsHandler(DriverFeeRefused)
export class FailOnDriverFeeRefused implements DurableEventHandler<DriverFeeRefused> {
  constructor(private readonly rides: Transits) {}

  async handle({ subject: id }: DriverFeeRefused): Promise<void> {
    if (await this.rides.changeIf({ id, driverFeeSettled: 'pending' }, { driverFeeSettled: 'failed' })) return;
    // A fee that is known stays known, also when drivers was restored to a time before it knew this driver.
    if (!(await this.rides.find(id))) throw new Reject(`There is no transit ${id}`);
  }
}

@EventsHandler(DriverFreed)
export class SettleOnDriverFreed implements DurableEventHandler<DriverFreed> {
  constructor(private readonly rides: Transits) {}

  handle({ subject }: DriverFreed): Promise<void> {
    return settle(this.rides, subject, { driverFreedSettled: 'settled' });
  }
}

@EventsHandler(MilesRegistered)
export class SettleOnMilesRegistered implements DurableEventHandler<MilesRegistered> {
  constructor(private readonly rides: Transits) {}

  async handle({ subject: id, data: { miles } }: MilesRegistered): Promise<void> {
    // The first answer stands: the account may have changed since.
    if (await this.rides.changeIf({ id, miles: IsNull() }, { milesSettled: 'settled', miles })) return;
    await settle(this.rides, id, { milesSettled: 'settled' });
  }
}

@EventsHandler(InvoiceIssued)
export class SettleOnInvoiceIssued implements DurableEventHandler<InvoiceIssued> {
  constructor(private readonly rides: Transits) {}

  handle({ subject }: InvoiceIssued): Promise<void> {
    return settle(this.rides, subject, { invoiceSettled: 'settled' });
  }
}

async function settle(rides: Transits, id: string, changes: Partial<Transit>): Promise<void> {
  if (!(await rides.changeIf({ id }, changes))) throw new Reject(`There is no transit ${id}`);
}
