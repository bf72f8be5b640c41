import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { HISTORIES } from '../../migrations/histories.js';
import type { LoadedConfig } from '../../src/config-loader.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { meshFeatureOf } from '../../src/infrastructure/contracts/mesh-feature.js';
import { ClientsModule } from '../../src/modules/clients/clients.module.js';
import { DriversModule } from '../../src/modules/drivers/drivers.module.js';
import { GeolocationModule } from '../../src/modules/geolocation/geolocation.module.js';
import { InvoicingModule } from '../../src/modules/invoicing/invoicing.module.js';
import { RidesModule } from '../../src/modules/rides/rides.module.js';
import { LoyaltyTables1763900000000 } from './loyalty/1763900000000-create-tables.js';
import { LoyaltyModule } from './loyalty/loyalty.module.js';

/** The modules on the mesh. */
const MODULES: readonly Type[] = [
  RidesModule,
  GeolocationModule,
  DriversModule,
  InvoicingModule,
  ClientsModule,
  LoyaltyModule,
];

/** Their migrations. Those of loyalty are a class in loyalty/. */
const MIGRATIONS = [
  ...HISTORIES.filter(({ owner }) => owner !== 'loyalty'),
  { owner: 'loyalty', migrations: [LoyaltyTables1763900000000] },
];

export const MODULE_NAMES = MODULES.map((it) => meshFeatureOf(it).name);

@Module({})
export class AppModule {
  static forRoot({ config, module: configModule }: LoadedConfig): DynamicModule {
    return {
      module: AppModule,
      imports: [
        configModule,
        MeshModule.forRoot({
          application: 'cabs',
          modules: MODULES,
          database: config.databaseUrl,
          migrations: MIGRATIONS,
          migrate: true,
          delivery: config.delivery,
          retention: config.retention,
          shutdownGraceMs: config.shutdownGraceMs,
          administration: { isDevelopment: true },
        }),
        ...MODULES,
      ],
    };
  }
}
