import { Command } from '@nestjs/cqrs';

/** Calculate what the driver earns for a transit of this price. Cents. */
export class CalculateFee extends Command<void> {
  constructor(readonly data: { readonly transitId: string; readonly driverId: number; readonly transitPrice: number }) {
    super();
  }
}

/** What the driver earns for a transit. Cents. */
export class DriverFeeCalculated {
  constructor(readonly data: { readonly transitId: string; readonly fee: number }) {}
}

/** Mark the driver as free. */
export class FreeDriver extends Command<void> {
  constructor(readonly data: { readonly driverId: number }) {
    super();
  }
}
