import type { Type } from '@nestjs/common';
import { serve } from '../shared/serve.js';
import { CabsModule } from './cabs.js';
import { DriversModule } from './drivers.js';
import { GeolocationModule } from './geolocation.js';
import { InvoicingModule } from './invoicing.js';
import { LoyaltyModule } from './loyalty.js';
import { RidesModule } from './rides.js';

/** One repository, six programs. The environment variable `SERVICE` chooses one. */
const SERVICES: Record<string, Type> = {
  cabs: CabsModule,
  geolocation: GeolocationModule,
  rides: RidesModule,
  drivers: DriversModule,
  loyalty: LoyaltyModule,
  invoicing: InvoicingModule,
};

await serve(SERVICES[process.env.SERVICE!]!);
