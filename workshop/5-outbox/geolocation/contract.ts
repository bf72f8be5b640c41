import { Command } from '@nestjs/cqrs';
import type { Address } from '../../../src/modules/geolocation/contract.js';

/** Keep the destination of a transit, and say how far it is from the pickup. */
export class UpdateDestination extends Command<void> {
  constructor(readonly data: { readonly transitId: string; readonly fromId: string; readonly destination: Address }) {
    super();
  }
}

/** The destination of a transit is known, and how far it is, in metres. */
export class DestinationUpdated {
  constructor(readonly data: { readonly transitId: string; readonly distanceMetres: number }) {}
}
