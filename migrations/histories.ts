import type { MigrationHistory } from '../src/infrastructure/persistence/migrate.js';
import { ClientsTables1763900000000 } from './clients/1763900000000-create-tables.js';
import { DriversTables1763900000000 } from './drivers/1763900000000-create-tables.js';
import { DriversAttempts1764200000000 } from './drivers/1764200000000-add-attempts.js';
import { DriversFreedOn1764500000000 } from './drivers/1764500000000-date-freed-drivers.js';
import { GeolocationTables1763900000000 } from './geolocation/1763900000000-create-tables.js';
import { GeolocationMeasuredOn1764500000000 } from './geolocation/1764500000000-date-routes.js';
import { InvoicingTables1763900000000 } from './invoicing/1763900000000-create-tables.js';
import { LoyaltyTables1763900000000 } from './loyalty/1763900000000-create-tables.js';
import { RidesTables1763900000000 } from './rides/1763900000000-create-tables.js';
import { RidesReconciliation1764000000000 } from './rides/1764000000000-add-reconciliation.js';
import { RidesListings1764100000000 } from './rides/1764100000000-index-listings.js';
import { RidesAttempts1764200000000 } from './rides/1764200000000-count-attempts.js';
import { RidesWhole1764500000000 } from './rides/1764500000000-mark-whole-transits.js';

/** The migrations of each module, oldest first. Add a migration at the end of its module's list; never change an old one. */
export const HISTORIES: readonly MigrationHistory[] = [
  {
    owner: 'rides',
    migrations: [
      RidesTables1763900000000,
      RidesReconciliation1764000000000,
      RidesListings1764100000000,
      RidesAttempts1764200000000,
      RidesWhole1764500000000,
    ],
  },
  { owner: 'geolocation', migrations: [GeolocationTables1763900000000, GeolocationMeasuredOn1764500000000] },
  {
    owner: 'drivers',
    migrations: [DriversTables1763900000000, DriversAttempts1764200000000, DriversFreedOn1764500000000],
  },
  { owner: 'loyalty', migrations: [LoyaltyTables1763900000000] },
  { owner: 'invoicing', migrations: [InvoicingTables1763900000000] },
  { owner: 'clients', migrations: [ClientsTables1763900000000] },
];
