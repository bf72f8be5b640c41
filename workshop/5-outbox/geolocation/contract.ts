import { Command } from '@nestjs/cqrs';
import type { Address } from '../../../src/modules/geolocation/contract.js';

/** Save the destination of a transit and measure its distance from the pickup. */
export class UpdateDestination extends Command<void> {
  constructor(readonly data: { readonly transitId: string; readonly fromId: string; readonly destination: Address }) {
    super();
  }
}

/** The destination of a transit is saved; its distance from the pickup in metres. */
export class DestinationUpdated {
  constructor(readonly data: { readonly transitId: string; readonly distanceMetres: number }) {}
}
