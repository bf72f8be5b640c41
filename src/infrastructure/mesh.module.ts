import { ConfigurableModuleBuilder, Module, type DynamicModule, type Provider } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import { CommandBus, CqrsModule, EventBus, QueryBus } from '@nestjs/cqrs';
import { BrokerIngress } from './broker/broker-ingress.js';
import { DeadLetterSink } from './broker/dead-letter-sink.js';
import { HandlerRegistry } from './contracts/handler-registry.js';
import { PROCESS_BUSES } from './contracts/module-buses.js';
import { Permissions } from './contracts/permissions.js';
import { MeshCommandBus } from './cqrs/command-bus.js';
import { MeshEventBus } from './cqrs/event-bus.js';
import { HostBuses } from './cqrs/host-buses.js';
import { ConsoleRoutes } from './console/console.routes.js';
import { ConsoleDevelopmentRoutes } from './console/development.routes.js';
import { ConsolePageRoutes } from './console/page.routes.js';
import { QueriesRoutes } from './cqrs/queries.routes.js';
import { QueryCallers } from './cqrs/query-callers.js';
import { MeshQueryBus } from './cqrs/query-bus.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { DeadLettersRoutes } from './dead-letters/dead-letters.routes.js';
import { DeadLetters } from './dead-letters/dead-letters.js';
import { RequeueTargets } from './dead-letters/requeue-targets.js';
import { InboxReceiver } from './delivery/inbox-receiver.js';
import { Journal } from './delivery/journal.js';
import { AdministrationGuard } from './http/administration.js';
import { Admission } from './http/admission.js';
import { AllowedMethods } from './http/allowed-methods.js';
import { Connections } from './http/connections.js';
import { IdempotencyInterceptor } from './http/idempotency.js';
import { LocationInterceptor } from './http/location.js';
import { MeshListener } from './http/mesh-listener.js';
import { MeshRouter } from './http/mesh-router.js';
import { ProblemFilter } from './http/problem.filter.js';
import { RestTokensGuard } from './http/rest-tokens.guard.js';
import { AsyncApiRoutes } from './maintenance/asyncapi.routes.js';
import { JournalRoutes } from './maintenance/journal.routes.js';
import { HealthRoutes } from './maintenance/health.routes.js';
import { OutboxRoutes } from './maintenance/outbox.routes.js';
import { ReconciliationRoutes } from './maintenance/reconciliation.routes.js';
import { Reconciliation } from './maintenance/reconciliation.js';
import { Metrics } from './maintenance/metrics.js';
import { MetricsRoutes } from './maintenance/metrics.routes.js';
import { Retention } from './maintenance/retention.js';
import { SnapshotWatch } from './maintenance/snapshot-watch.js';
import { IS_WHOLE, MeshHttp } from './mesh-http.js';
import { MeshLifecycle } from './mesh-lifecycle.js';
import { MESH_OPTIONS, type MeshExtras, type MeshOptions } from './mesh-options.js';
import { optionProviders, restTokens } from './mesh-providers.js';
import { meshRoutes } from './mesh-routes.js';
import { Clock } from './observability/clock.js';
import { Outbox } from './outbox/outbox.js';
import { Relay } from './outbox/relay.js';
import { Database } from './persistence/database.js';
import { UnitOfWork } from './persistence/unit-of-work.js';

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<MeshOptions>({ optionsInjectionToken: MESH_OPTIONS })
  .setClassMethodName('forRoot')
  .setExtras<MeshExtras>({ http: 'whole' }, withHttp)
  .build();

/** Outbox, inbox, relay and buses for the modules of one process: `MeshModule.forRoot(options)` or `forRootAsync(…)`. */
@Module({
  imports: [cqrsModule()],
  providers: [
    ...optionProviders,
    AdministrationGuard,
    Admission,
    AsyncApiRoutes,
    BrokerIngress,
    Clock,
    Connections,
    ConsoleDevelopmentRoutes,
    ConsolePageRoutes,
    ConsoleRoutes,
    DeadLetters,
    DeadLettersRoutes,
    DeadLetterSink,
    HandlerRegistry,
    HealthRoutes,
    HostBuses,
    InboxReceiver,
    Journal,
    JournalRoutes,
    MeshHttp,
    MeshLifecycle,
    MeshListener,
    MeshRouter,
    Metrics,
    MetricsRoutes,
    Outbox,
    OutboxRoutes,
    Permissions,
    QueriesRoutes,
    QueryCallers,
    Reconciliation,
    ReconciliationRoutes,
    RequeueTargets,
    Retention,
    SnapshotWatch,
    UnitOfWork,
  ],
  exports: [
    Admission,
    Clock,
    Database,
    DeadLetters,
    HandlerRegistry,
    InboxReceiver,
    MeshListener,
    Outbox,
    Permissions,
    Reconciliation,
    Relay,
    RemoteQueries,
    UnitOfWork,
  ],
})
export class MeshModule extends ConfigurableModuleClass {}

/** Adds the HTTP conventions that the application wants from the mesh. */
function withHttp(definition: DynamicModule, { http }: MeshExtras): DynamicModule {
  const isWhole = http !== 'administration';
  const conventions: Provider[] = [
    AllowedMethods,
    { provide: APP_FILTER, useClass: ProblemFilter },
    { provide: APP_GUARD, useClass: RestTokensGuard },
    { provide: APP_INTERCEPTOR, useClass: LocationInterceptor },
    { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
  ];
  const providers: Provider[] = [
    ...(definition.providers ?? []),
    { provide: IS_WHOLE, useValue: isWhole },
    restTokens(isWhole),
    meshRoutes(isWhole),
    ...(isWhole ? conventions : []),
  ];
  return { ...definition, global: true, providers };
}

/** CqrsModule with the buses of the mesh in place of the stock ones. */
function cqrsModule(): DynamicModule {
  const cqrs = CqrsModule.forRoot();
  const buses: Provider[] = [
    { provide: CommandBus, useClass: MeshCommandBus },
    { provide: EventBus, useClass: MeshEventBus },
    { provide: QueryBus, useClass: MeshQueryBus },
    ...[...PROCESS_BUSES].map(([bus, provide]) => ({ provide, useExisting: bus })),
  ];
  const exported = [...(cqrs.exports ?? []), ...PROCESS_BUSES.values()];
  return { ...cqrs, providers: [...(cqrs.providers ?? []), ...buses], exports: exported };
}
