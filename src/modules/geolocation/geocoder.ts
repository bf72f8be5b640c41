import { Injectable } from '@nestjs/common';
import type { Address } from './contract.js';
import type { Coordinates } from './distance.js';

/** Finds the coordinates of an address. It is called outside units of work, so it may wait for I/O. */
export abstract class Geocoder {
  /** @returns undefined when the coordinates are unknown */
  abstract locate(address: Address): Promise<Coordinates | undefined>;
}

/** Finds no coordinates, like the legacy application: every route is 42 km long. Replace it with a real service. */
@Injectable()
export class NoGeocoder extends Geocoder {
  override async locate(_address: Address): Promise<undefined> {
    return undefined;
  }
}
