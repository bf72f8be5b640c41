import { Command } from '@nestjs/cqrs';
import type { Address } from '../../../src/modules/geolocation/contract.js';
import type { Tariff } from '../../../src/modules/rides/tariff.js';

/** A ride as the API shows it. Money in cents. */
export interface TransitView {
  readonly id: string;
  readonly status: string;
  readonly clientId: number;
  readonly driverId: number;
  readonly from: Address & { readonly id: string };
  readonly to: Address & { readonly id: string };
  readonly distanceKm: number;
  readonly tariff: Tariff;
  readonly price?: number;
  readonly driverFee?: number;
  readonly startedAt: string | null;
  readonly completedAt?: string;
}

/** Complete a ride that ended at this address. */
export class CompleteTransit extends Command<TransitView> {
  constructor(readonly data: { readonly transitId: string; readonly destination: Address }) {
    super();
  }
}

/** A ride is completed and has its price. Any module may subscribe. */
export class TransitCompleted {
  constructor(
    readonly data: {
      readonly transitId: string;
      readonly clientId: number;
      readonly fromId: string;
      readonly toId: string;
      readonly completedAt: string;
    },
  ) {}
}
