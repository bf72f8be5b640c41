import { fileURLToPath } from 'node:url';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { HISTORIES } from '../migrations/histories.js';
import type { LoadedConfig } from './config-loader.js';
import type { Config } from './config.js';
import { DEMO_ACTIONS } from './demo-actions.js';
import { meshFeatureOf } from './infrastructure/contracts/mesh-feature.js';
import { MeshModule } from './infrastructure/mesh.module.js';
import { assertHistoriesComplete } from './infrastructure/store/migration-histories.js';
import { ClientsModule } from './modules/clients/clients.module.js';
import { DriversModule } from './modules/drivers/drivers.module.js';
import { GeolocationModule } from './modules/geolocation/geolocation.module.js';
import { InvoicingModule } from './modules/invoicing/invoicing.module.js';
import { LoyaltyModule } from './modules/loyalty/loyalty.module.js';
import { RidesModule } from './modules/rides/rides.module.js';

/** Development processes can be reached from this machine only. In production a container is reached from outside. */
export const LOOPBACK = '127.0.0.1';

/** The application's name on the mesh: sources are `usvc://cabs/<module>`. */
export const APPLICATION_NAME = 'cabs';

/** Where `npm run build:console` leaves the console, seen from the compiled file. */
const CONSOLE_FOLDER = fileURLToPath(new URL('../../console/dist', import.meta.url));

export const MODULES: readonly Type[] = [
  RidesModule,
  GeolocationModule,
  DriversModule,
  LoyaltyModule,
  InvoicingModule,
  ClientsModule,
];

export const MODULE_NAMES = MODULES.map((it) => meshFeatureOf(it).name);

/** The modules that this process hosts. */
export function hostedBy({ modules }: Pick<Config, 'modules'>): Type[] {
  return MODULES.filter((it) => modules.includes(meshFeatureOf(it).name));
}

@Module({})
export class AppModule {
  static forRoot({ config, module: configModule }: LoadedConfig): DynamicModule {
    assertHistoriesComplete(MODULES, HISTORIES);
    const hosted = hostedBy(config);
    return {
      module: AppModule,
      imports: [
        configModule,
        MeshModule.forRoot({
          application: APPLICATION_NAME,
          modules: MODULES,
          hosted,
          // The manifests of the public demo deliver to the root path.
          ...(config.broker && { broker: { ...config.broker, atRoot: true } }),
          database: config.databaseUrl,
          migrations: HISTORIES,
          migrate: config.isDevelopment,
          delivery: config.delivery,
          retention: config.retention,
          reconciliation: config.reconciliation,
          notify: config.notify,
          // A completed ride causes 10 messages, or 12 when it ends at another destination than planned.
          messagesPerRequest: 12,
          administration: {
            token: config.adminToken,
            readToken: config.readToken,
            isDevelopment: config.isDevelopment,
          },
          console: { folder: CONSOLE_FOLDER, ...(hosted.length === MODULES.length && { actions: DEMO_ACTIONS }) },
          maxWaiters: config.maxWaiters,
          ...(config.restTokens && { restTokens: config.restTokens }),
          shutdownDelayMs: config.shutdownDelayMs,
          shutdownGraceMs: config.shutdownGraceMs,
          ...(config.meshPort !== undefined && {
            listener: { port: config.meshPort, ...(config.isDevelopment && { host: LOOPBACK }) },
          }),
        }),
        ...hosted,
      ],
    };
  }
}
