import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { CONFIG, type Config } from '../../src/config.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { moduleOnMesh } from '../../src/infrastructure/contracts/mesh-feature.js';
import { ClientsModule } from '../../src/modules/clients/clients.module.js';
import { DriversModule } from '../../src/modules/drivers/drivers.module.js';
import { GeolocationModule } from '../../src/modules/geolocation/geolocation.module.js';
import { InvoicingModule } from '../../src/modules/invoicing/invoicing.module.js';
import { RidesModule } from '../../src/modules/rides/rides.module.js';
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

export const MODULE_NAMES = MODULES.map((it) => moduleOnMesh(it).name);

@Module({})
export class AppModule {
  static with(config: Config): DynamicModule {
    return {
      module: AppModule,
      global: true,
      imports: [
        MeshModule.forRoot({
          application: 'cabs',
          modules: MODULES,
          database: config.databaseUrl,
          migrate: true,
          delivery: config.delivery,
          retention: config.retention,
          shutdownGraceMs: config.shutdownGraceMs,
          administration: { isDevelopment: true },
        }),
        ...MODULES,
      ],
      providers: [{ provide: CONFIG, useValue: config }],
      exports: [CONFIG],
    };
  }
}
