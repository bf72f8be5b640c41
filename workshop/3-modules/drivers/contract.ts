import { Command } from '@nestjs/cqrs';

/** Calculate what the driver earns for a ride of this price. Cents. */
export class CalculateFee extends Command<{ fee: number }> {
  constructor(readonly data: { readonly driverId: number; readonly transitPrice: number }) {
    super();
  }
}

/** Mark the driver as free. */
export class FreeDriver extends Command<void> {
  constructor(readonly data: { readonly driverId: number }) {
    super();
  }
}
