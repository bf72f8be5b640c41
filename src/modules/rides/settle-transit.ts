import { EventsHandler } from '@nestjs/cqrs';
import type { DurableEventBatchHandler } from '../../infrastructure/contracts/batch-handler.js';
import { Reject, type DurableEventHandler } from '../../infrastructure/contracts/message.js';
import { DriverFeeCalculated, DriverFeeRefused, DriverFreed } from '../drivers/contract.js';
import { InvoiceIssued } from '../invoicing/contract.js';
import { MilesRegistered } from '../loyalty/contract.js';
import { Transits } from './transits.store.js';

/*
 * The answers of the other modules. Each handler updates columns of its own, so the answers may come in any order and at
 * the same time.
 */

@EventsHandler(DriverFeeCalculated)
export class SettleOnDriverFeeCalculated implements DurableEventBatchHandler<DriverFeeCalculated> {
  constructor(private readonly transits: Transits) {}

  handleMany(events: readonly DriverFeeCalculated[]): Promise<void> {
    const fees = new Map(events.map(({ subject, data: { fee } }) => [subject, fee]));
    return this.transits.settle(`driver_fee = answer.value, driver_fee_settled = 'settled'`, fees);
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
export class SettleOnDriverFreed implements DurableEventBatchHandler<DriverFreed> {
  constructor(private readonly transits: Transits) {}

  /** Ignores a driver who doesn't have the transit: they lost it to another driver, or it was never stored here. */
  async handleMany(events: readonly DriverFreed[]): Promise<void> {
    const drivers = new Map(events.map(({ subject, data: { driverId } }) => [subject, driverId]));
    await this.transits.settleIf(`driver_freed_settled = 'settled'`, 'driver_id = answer.value', drivers);
  }
}

@EventsHandler(MilesRegistered)
export class SettleOnMilesRegistered implements DurableEventBatchHandler<MilesRegistered> {
  constructor(private readonly transits: Transits) {}

  handleMany(events: readonly MilesRegistered[]): Promise<void> {
    const miles = new Map(events.map(({ subject, data }) => [subject, data.miles]));
    // The miles of the first answer stay: the account may have changed since.
    return this.transits.settle(`miles = coalesce(miles, answer.value), miles_settled = 'settled'`, miles);
  }
}

@EventsHandler(InvoiceIssued)
export class SettleOnInvoiceIssued implements DurableEventBatchHandler<InvoiceIssued> {
  constructor(private readonly transits: Transits) {}

  handleMany(events: readonly InvoiceIssued[]): Promise<void> {
    const issued = new Map(events.map(({ subject }) => [subject, null]));
    return this.transits.settle(`invoice_settled = 'settled'`, issued);
  }
}
