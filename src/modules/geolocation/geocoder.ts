import { Injectable } from '@nestjs/common';
import type { Address } from './contract.js';
import type { Coordinates } from './distance.js';

/** Finds where an address is. Asked before a unit of work, so it may take its time. */
export abstract class Geocoder {
  /** @returns undefined when nobody knows */
  abstract locate(address: Address): Promise<Coordinates | undefined>;
}

/** Knows no place on earth, like the legacy application: every route is 42 km long. Replace it by a real service. */
@Injectable()
export class NoGeocoder extends Geocoder {
  override async locate(_address: Address): Promise<undefined> {
    return undefined;
  }
}
