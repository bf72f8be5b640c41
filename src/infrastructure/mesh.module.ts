import { ConfigurableModuleBuilder, Module, type DynamicModule, type Provider, type Type } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import { CommandBus, CqrsModule, EventBus, QueryBus } from '@nestjs/cqrs';
import { BrokerIngress } from './broker/broker-ingress.js';
import { DeadLetterSink } from './broker/dead-letter-sink.js';
import { HandlerRegistry } from './contracts/handler-registry.js';
import { PROCESS_BUSES } from './contracts/module-buses.js';
import { Permissions } from './contracts/permissions.js';
import { MeshCommandBus } from './cqrs/command-bus.js';
import { MeshEventBus } from './cqrs/event-bus.js';
import { QueriesController } from './cqrs/queries.controller.js';
import { MeshQueryBus } from './cqrs/query-bus.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { DeadLettersController, StandaloneDeadLettersController } from './dead-letters/dead-letters.controller.js';
import { DeadLetters } from './dead-letters/dead-letters.js';
import { InboxReceiver } from './delivery/inbox-receiver.js';
import { AdministrationGuard } from './http/administration.guard.js';
import { Admission, AdmissionMiddleware } from './http/admission.js';
import { AllowedMethods } from './http/allowed-methods.js';
import { Connections } from './http/connections.js';
import { IdempotencyInterceptor } from './http/idempotency.js';
import { ListenerGuard } from './http/listener.guard.js';
import { MeshListener } from './http/mesh-listener.js';
import { ProblemFilter } from './http/problem.filter.js';
import { RequestContextInterceptor } from './http/request-context.interceptor.js';
import { RestTokensGuard } from './http/rest-tokens.guard.js';
import { HealthController } from './maintenance/health.controller.js';
import { OutboxController } from './maintenance/outbox.controller.js';
import { ReconciliationController } from './maintenance/reconciliation.controller.js';
import { Reconciliation } from './maintenance/reconciliation.js';
import { Retention } from './maintenance/retention.js';
import { SnapshotWatch } from './maintenance/snapshot-watch.js';
import { MeshLifecycle } from './mesh-lifecycle.js';
import { MESH_OPTIONS, type MeshExtras, type MeshOptions } from './mesh-options.js';
import { optionProviders, restTokens } from './mesh-providers.js';
import { Clock } from './observability/clock.js';
import { Outbox } from './outbox/outbox.js';
import { Relay } from './outbox/relay.js';
import { Database } from './persistence/database.js';
import { UnitOfWork } from './persistence/unit-of-work.js';

const { ConfigurableModuleClass } = new ConfigurableModuleBuilder<MeshOptions>({ optionsInjectionToken: MESH_OPTIONS })
  .setClassMethodName('forRoot')
  .setExtras<MeshExtras>({ http: 'whole' }, withControllers)
  .build();

/** Outbox, inbox, relay and buses for the modules of one process: `MeshModule.forRoot(options)` or `forRootAsync(…)`. */
@Module({
  imports: [cqrsModule()],
  controllers: [OutboxController, ReconciliationController],
  providers: [
    ...optionProviders,
    { provide: APP_GUARD, useClass: ListenerGuard },
    { provide: APP_INTERCEPTOR, useClass: RequestContextInterceptor },
    AdministrationGuard,
    Admission,
    BrokerIngress,
    Clock,
    Connections,
    DeadLetters,
    DeadLetterSink,
    HandlerRegistry,
    InboxReceiver,
    MeshLifecycle,
    MeshListener,
    Outbox,
    Permissions,
    Reconciliation,
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

/** Adds the controllers and HTTP conventions that the application wants from the mesh. */
function withControllers(definition: DynamicModule, extras: MeshExtras & Partial<MeshOptions>): DynamicModule {
  const isWhole = extras.http !== 'administration';
  const controllers: Type[] = isWhole ? [HealthController, DeadLettersController] : [StandaloneDeadLettersController];
  // forRootAsync() learns of a broker too late, so it always has the route; without a broker it answers 404.
  const mayHaveBroker = extras.database === undefined || extras.broker !== undefined;
  if (mayHaveBroker) controllers.push(QueriesController);
  const providers: Provider[] = isWhole
    ? [
        AdmissionMiddleware,
        AllowedMethods,
        { provide: APP_FILTER, useClass: ProblemFilter },
        // After the guard of the ports: a route of the other port is answered 404, with a token or without.
        { provide: APP_GUARD, useClass: RestTokensGuard },
        { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
      ]
    : [];
  const all = [...(definition.providers ?? []), restTokens(isWhole), ...providers];
  return { ...definition, global: true, controllers, providers: all };
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
