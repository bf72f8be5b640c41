import {
  Inject,
  Injectable,
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type Provider,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR } from '@nestjs/core';
import { CommandBus, CqrsModule, EventBus, QueryBus } from '@nestjs/cqrs';
import type { DataSourceOptions } from 'typeorm';
import { Clock } from './clock.js';
import { ControllerInterceptor } from './http/controller.interceptor.js';
import { HealthController } from './http/health.controller.js';
import { IdempotencyInterceptor } from './http/idempotency.js';
import {
  ADMINISTRATION,
  AdministrationGuard,
  MeshController,
  StandaloneMeshController,
  type Administration,
} from './http/mesh.controller.js';
import { ProblemFilter } from './http/problem.filter.js';
import { MeshCommandBus, MeshEventBus, MeshQueryBus } from './messaging/buses.js';
import { DeadLetters } from './messaging/dead-letters.js';
import { meshMigrations } from './messaging/migrations.js';
import { APPLICATION, Outbox } from './messaging/outbox.js';
import { DELIVERY_POLICY, Receiver } from './messaging/receiver.js';
import { ALL_MODULES, moduleOnMesh, Registry } from './messaging/registry.js';
import { Relay } from './messaging/relay.js';
import { Retention, RETENTION_POLICY, type RetentionPolicy } from './messaging/retention.js';
import type { DeliveryPolicy } from './messaging/retry.js';
import { Database } from './persistence/database.js';
import type { MigrationHistory } from './persistence/migrate.js';
import { UnitOfWork } from './persistence/unit-of-work.js';

export interface MeshOptions {
  /** The application's name, in the sources and schemas of its messages: `usvc://<application>/<module>`. */
  readonly application: string;
  /** The modules, each with `@OnMesh`. */
  readonly modules: readonly Type[];
  /** `sqlite:<path>`, `postgres://…`, or the options of a data source that the application has already. */
  readonly database: string | DataSourceOptions;
  /** Apply missing migrations at start; otherwise a missing one stops it. */
  readonly migrate?: boolean;
  readonly delivery?: Partial<DeliveryPolicy>;
  readonly retention?: Partial<RetentionPolicy>;
  readonly administration?: Administration;
  /**
   * `whole` (unless told): problem documents, `Idempotency-Key` and /health for all controllers, together with
   * `configureHttp()`. `administration`: /mesh alone; what every other route replies is left as it was.
   */
  readonly http?: 'whole' | 'administration';
  /** How long a shutdown may take to deliver what is ready, in ms. */
  readonly shutdownGraceMs?: number;
}

const DAY_MS = 86_400_000;

/** Retries as Knative's examples have them: 10, exponential from 0.2 s, 204.6 s in all. */
const DELIVERY: DeliveryPolicy = { retry: 10, backoffDelayMs: 200, backoffPolicy: 'exponential', timeoutMs: 30_000 };
const RETENTION: RetentionPolicy = { inboxMs: 14 * DAY_MS, deadLetterMs: 30 * DAY_MS, replayWindowMs: 7 * DAY_MS };

const GRACE = Symbol('GRACE');

/** Starts the relay when the application is ready, and ends it before the database goes. */
@Injectable()
class Lifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly database: Database,
    private readonly relay: Relay,
    private readonly retention: Retention,
    @Inject(GRACE) private readonly graceMs: number,
  ) {}

  onApplicationBootstrap(): void {
    this.relay.start();
    this.retention.start();
  }

  /** By now the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.retention.stop();
    await this.relay.stop(Date.now() + this.graceMs);
    await this.database.close();
  }
}

/** Outbox, inbox, relay and buses for the modules of one process. */
@Module({})
export class MeshModule {
  static forRoot(options: MeshOptions): DynamicModule {
    const providers: Provider[] = [
      { provide: APPLICATION, useValue: options.application },
      { provide: ALL_MODULES, useValue: options.modules },
      { provide: DELIVERY_POLICY, useValue: { ...DELIVERY, ...options.delivery } },
      { provide: RETENTION_POLICY, useValue: { ...RETENTION, ...options.retention } },
      { provide: ADMINISTRATION, useValue: options.administration ?? { isDevelopment: false } },
      { provide: APP_INTERCEPTOR, useClass: ControllerInterceptor },
      { provide: GRACE, useValue: options.shutdownGraceMs ?? 20_000 },
      {
        provide: Database,
        useFactory: () =>
          Database.open({
            database: options.database,
            entities: options.modules.flatMap((it) => [...(moduleOnMesh(it).entities ?? [])]),
            histories: migrationHistories(options.modules),
            migrate: options.migrate ?? false,
          }),
      },
      ...[Clock, UnitOfWork, Registry, Outbox, Receiver, Relay, Retention, DeadLetters, AdministrationGuard, Lifecycle],
    ];
    const isWhole = options.http !== 'administration';
    if (isWhole) {
      providers.push(
        { provide: APP_FILTER, useClass: ProblemFilter },
        { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
      );
    }
    return {
      module: MeshModule,
      global: true,
      imports: [busesOfTheMesh()],
      controllers: isWhole ? [HealthController, MeshController] : [StandaloneMeshController],
      providers,
      exports: [Clock, Database, UnitOfWork, Registry, Outbox, Receiver, Relay, DeadLetters],
    };
  }
}

/** Each module's own migrations, after those of the mesh. */
export function migrationHistories(modules: readonly Type[]): MigrationHistory[] {
  const own = modules.map(moduleOnMesh).map(({ name, migrations = [] }) => ({ owner: name, migrations }));
  return [meshMigrations, ...own];
}

/** CqrsModule with our buses in the places of the stock ones. */
function busesOfTheMesh(): DynamicModule {
  const cqrs = CqrsModule.forRoot();
  const ours: Provider[] = [
    { provide: CommandBus, useClass: MeshCommandBus },
    { provide: EventBus, useClass: MeshEventBus },
    { provide: QueryBus, useClass: MeshQueryBus },
  ];
  return { ...cqrs, providers: [...(cqrs.providers ?? []), ...ours] };
}
