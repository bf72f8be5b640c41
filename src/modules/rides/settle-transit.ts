import { EventsHandler } from '@nestjs/cqrs';
import { IsNull } from 'typeorm';
import { Reject, type DurableEventHandler } from '../../infrastructure/contracts/message.js';
import { DriverFeeCalculated, DriverFeeRefused, DriverFreed } from '../drivers/contract.js';
import { InvoiceIssued } from '../invoicing/contract.js';
import { MilesRegistered } from '../loyalty/contract.js';
import { Transits } from './transits.store.js';
import type { Transit } from './tables.js';

/*
 * The answers of the other modules. Each handler updates columns of its own, so the answers may come in any order and at
 * the same time.
 */

@EventsHandler(DriverFeeCalculated)
export class SettleOnDriverFeeCalculated implements DurableEventHandler<DriverFeeCalculated> {
  constructor(private readonly transits: Transits) {}

  handle({ subject, data: { fee } }: DriverFeeCalculated): Promise<void> {
    return settle(this.transits, subject, { driverFee: fee, driverFeeSettled: 'settled' });
  }
}

@EventsHandler(DriverFeeRefused)
export class FailOnDriverFeeRefused implements DurableEventHandler<DriverFeeRefused> {
  constructor(private readonly transits: Transits) {}

  async handle({ subject: id }: DriverFeeRefused): Promise<void> {
    if (await this.transits.changeIf({ id, driverFeeSettled: 'pending' }, { driverFeeSettled: 'failed' })) return;
    // A fee that is known stays, also when drivers was restored from a backup without this driver.
    if (!(await this.transits.find(id))) throw new Reject(`There is no transit ${id}`);
  }
}

@EventsHandler(DriverFreed)
export class SettleOnDriverFreed implements DurableEventHandler<DriverFreed> {
  constructor(private readonly transits: Transits) {}

  /** Ignores a driver who doesn't have the transit: they lost it to another driver, or it was never stored here. */
  async handle({ subject: id, data: { driverId } }: DriverFreed): Promise<void> {
    await this.transits.changeIf({ id, driverId }, { driverFreedSettled: 'settled' });
  }
}

@EventsHandler(MilesRegistered)
export class SettleOnMilesRegistered implements DurableEventHandler<MilesRegistered> {
  constructor(private readonly transits: Transits) {}

  async handle({ subject: id, data: { miles } }: MilesRegistered): Promise<void> {
    // Keep the miles of the first answer: the account may have changed since.
    if (await this.transits.changeIf({ id, miles: IsNull() }, { milesSettled: 'settled', miles })) return;
    await settle(this.transits, id, { milesSettled: 'settled' });
  }
}

@EventsHandler(InvoiceIssued)
export class SettleOnInvoiceIssued implements DurableEventHandler<InvoiceIssued> {
  constructor(private readonly transits: Transits) {}

  handle({ subject }: InvoiceIssued): Promise<void> {
    return settle(this.transits, subject, { invoiceSettled: 'settled' });
  }
}

async function settle(transits: Transits, id: string, changes: Partial<Transit>): Promise<void> {
  if (!(await transits.changeIf({ id }, changes))) throw new Reject(`There is no transit ${id}`);
}
