import { Command, Query } from '@nestjs/cqrs';
import type { Address } from '../../../src/modules/geolocation/contract.js';

/** Keep an address, unless it is known. */
export class SaveAddress extends Command<void> {
  constructor(readonly data: { readonly address: Address }) {
    super();
  }
}

/** How far apart two addresses are, in metres. */
export class MeasureRoute extends Query<{ distanceMetres: number }> {
  constructor(readonly data: { readonly fromId: string; readonly toId: string }) {
    super();
  }
}
