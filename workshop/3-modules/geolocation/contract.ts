import { Command, Query } from '@nestjs/cqrs';
import type { Address } from '../../../src/modules/geolocation/contract.js';

/** Save an address unless it is there already. */
export class SaveAddress extends Command<void> {
  constructor(readonly data: { readonly address: Address }) {
    super();
  }
}

/** Measure the distance between two addresses, in metres. */
export class MeasureRoute extends Query<{ distanceMetres: number }> {
  constructor(readonly data: { readonly fromId: string; readonly toId: string }) {
    super();
  }
}
