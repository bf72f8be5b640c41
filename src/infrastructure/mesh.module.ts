import {
  Inject,
  Injectable,
  Logger,
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type Provider,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR } from '@nestjs/core';
import { CommandBus, CqrsModule, EventBus, QueryBus } from '@nestjs/cqrs';
import { Clock } from './observability/clock.js';
import type { BrokerOptions, MeshOptions } from './mesh-options.js';
import { RequestContextInterceptor } from './http/request-context.interceptor.js';
import { HealthController } from './maintenance/health.controller.js';
import { IdempotencyInterceptor } from './http/idempotency.js';
import {
  ADMINISTRATION,
  AdministrationGuard,
  MeshController,
  StandaloneMeshController,
} from './dead-letters/dead-letters.controller.js';
import { ProblemFilter } from './http/problem.filter.js';
import { QueriesController } from './cqrs/queries.controller.js';
import { ReconciliationController } from './maintenance/reconciliation.controller.js';
import { AT_ROOT, BROKER_TOKENS, BrokerIngress } from './broker/broker-ingress.js';
import { TokenFile } from './broker/oidc/token-file.js';
import { MeshCommandBus, MeshEventBus, MeshQueryBus } from './cqrs/buses.js';
import { DEAD_LETTER_SINK, DeadLetterSink } from './broker/dead-letter-sink.js';
import { DeadLetters } from './dead-letters/dead-letters.js';
import { InProcessDispatcher } from './outbox/in-process-dispatcher.js';
import { remoteConsumer } from './broker/remote-consumer.js';
import { OUTBOX_RESOURCE, SINGLE_PROCESS, type LeaseScope } from './leases/leases.js';
import { assertOwners, migrationHistories } from './store/migration-histories.js';
import { APPLICATION, Outbox } from './outbox/outbox.js';
import { PostgresLeases } from './leases/postgres-leases.js';
import { Publisher } from './broker/publisher.js';
import { DELIVERY_POLICY, InboxReceiver } from './delivery/inbox-receiver.js';
import { meshFeatureOf } from './contracts/mesh-feature.js';
import { Reconciliation, RECONCILIATION_POLICY, type ReconciliationPolicy } from './maintenance/reconciliation.js';
import { ALL_MODULES, HandlerRegistry } from './contracts/handler-registry.js';
import { Relay } from './outbox/relay.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { Retention, RETENTION_POLICY, type RetentionPolicy } from './maintenance/retention.js';
import type { DeliveryPolicy } from './delivery/retry-policy.js';
import { CloudEventsClient } from './broker/cloudevents-client.js';
import { Database } from './persistence/database.js';
import { UnitOfWork } from './persistence/unit-of-work.js';

const DAY_MS = 86_400_000;

/** Retries as Knative's examples have them: 10, exponential from 0.2 s, 204.6 s in all. */
const DELIVERY: DeliveryPolicy = { retry: 10, backoffDelayMs: 200, backoffPolicy: 'exponential', timeoutMs: 30_000 };
const RETENTION: RetentionPolicy = { inboxMs: 14 * DAY_MS, deadLetterMs: 30 * DAY_MS, replayWindowMs: 7 * DAY_MS };

/** Whoever wants passes without asking for them says so. */
const RECONCILIATION: ReconciliationPolicy = { everyMs: 0, perSecond: 200 };

const GRACE = Symbol('GRACE');
const SINK = Symbol('SINK');

/** Starts the relay when the application is ready, and ends it before the database goes. */
@Injectable()
class Lifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly database: Database,
    private readonly relay: Relay,
    private readonly receiver: InboxReceiver,
    private readonly retention: Retention,
    private readonly reconciliation: Reconciliation,
    private readonly queries: RemoteQueries,
    @Inject(SINK) private readonly sink: CloudEventsClient,
    @Inject(GRACE) private readonly graceMs: number,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.relay.start(this.receiver.consumers);
    this.retention.start();
    this.reconciliation.start();
  }

  /** By now the HTTP server has answered its last request. */
  async onApplicationShutdown(): Promise<void> {
    await this.retention.stop();
    await this.reconciliation.stop();
    await this.relay.stop(performance.now() + this.graceMs);
    await this.sink.close();
    await this.queries.close();
    await this.database.close();
  }
}

/** Outbox, inbox, relay and buses for the modules of one process. */
@Module({})
export class MeshModule {
  /** @throws Error when some modules live elsewhere, and no broker is there to reach them */
  static forRoot(options: MeshOptions): DynamicModule {
    const { broker, hosted = options.modules } = options;
    if (!broker?.sink && hosted.length > 0 && hosted.length < options.modules.length)
      throw new Error('Modules that live in other processes need a broker: give broker.sink, or host all of them');
    assertOwners(options.modules, options.migrations);
    const delivery = { ...DELIVERY, ...options.delivery };
    const services = broker?.services ?? {};
    const providers: Provider[] = [
      { provide: APPLICATION, useValue: options.application },
      { provide: ALL_MODULES, useValue: options.modules },
      { provide: DELIVERY_POLICY, useValue: delivery },
      { provide: RETENTION_POLICY, useValue: { ...RETENTION, ...options.retention } },
      { provide: RECONCILIATION_POLICY, useValue: { ...RECONCILIATION, ...options.reconciliation } },
      { provide: ADMINISTRATION, useValue: options.administration ?? { isDevelopment: false } },
      { provide: DEAD_LETTER_SINK, useValue: { isOpen: broker !== undefined && hosted.length === 0, services } },
      { provide: APP_INTERCEPTOR, useClass: RequestContextInterceptor },
      { provide: GRACE, useValue: options.shutdownGraceMs ?? 20_000 },
      {
        provide: Database,
        useFactory: () =>
          Database.open({
            database: options.database,
            entities: hosted.flatMap((it) => [...(meshFeatureOf(it).entities ?? [])]),
            histories: migrationHistories(hosted, options.migrations),
            migrate: options.migrate ?? false,
          }),
      },
      { provide: SINK, useFactory: () => sinkOf(broker, delivery) },
      { provide: RemoteQueries, useFactory: () => new RemoteQueries(services) },
      {
        provide: Relay,
        useFactory: (
          work: UnitOfWork,
          database: Database,
          outbox: Outbox,
          registry: HandlerRegistry,
          sink: CloudEventsClient,
        ) => {
          const logger = new Logger('Relay');
          const share = leaseScopeOf(database, hosted, options.notify ?? true);
          const wayOut = broker?.sink
            ? new Publisher(work, sink, broker.sink, share.leases, logger)
            : new InProcessDispatcher(work, (type) => registry.consumersOf(type), logger, share.leases);
          const forward = (name: string) =>
            /^https?:/.test(name) ? remoteConsumer(name, sink, work, delivery) : undefined;
          const relay = new Relay(work, wayOut, logger, share, broker && forward);
          outbox.onStaged(() => relay.joinGroup());
          outbox.onCommitted(() => relay.wake());
          return relay;
        },
        inject: [UnitOfWork, Database, Outbox, HandlerRegistry, SINK],
      },
      ...[
        Clock,
        UnitOfWork,
        HandlerRegistry,
        Outbox,
        InboxReceiver,
        Retention,
        Reconciliation,
        DeadLetters,
        DeadLetterSink,
      ],
      ...[AdministrationGuard, Lifecycle],
    ];
    const controllers: Type[] = [ReconciliationController];
    if (broker) {
      const { tokens } = broker;
      // The receiving end exists only where somebody delivers.
      providers.push(BrokerIngress, { provide: AT_ROOT, useValue: broker.atRoot ?? false });
      providers.push({ provide: BROKER_TOKENS, useFactory: () => tokens && verifierOf(tokens) });
      controllers.push(QueriesController);
    }
    const isWhole = options.http !== 'administration';
    if (isWhole) {
      controllers.push(HealthController, MeshController);
      providers.push(
        { provide: APP_FILTER, useClass: ProblemFilter },
        { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
      );
    } else {
      controllers.push(StandaloneMeshController);
    }
    return {
      module: MeshModule,
      global: true,
      imports: [busesOfTheMesh()],
      controllers,
      providers,
      exports: [
        Clock,
        Database,
        UnitOfWork,
        HandlerRegistry,
        Outbox,
        InboxReceiver,
        Relay,
        DeadLetters,
        Reconciliation,
        RemoteQueries,
      ],
    };
  }
}

/** JOSE takes a while to load, and only those who ask for tokens need it. */
async function verifierOf({ credentialsFile, ...rules }: NonNullable<BrokerOptions['tokens']>) {
  const { BrokerTokens } = await import('./broker/oidc/broker-tokens.js');
  return new BrokerTokens({ ...rules, ...(credentialsFile && { credentials: new TokenFile(credentialsFile) }) });
}

/** Where replicas may share a PostgreSQL database: leases on the outbox and on the deliveries of the hosted modules. */
function leaseScopeOf({ postgres }: Database, hosted: readonly Type[], notify: boolean): LeaseScope {
  if (!postgres) return SINGLE_PROCESS;
  const names = hosted.map((it) => meshFeatureOf(it).name).sort();
  const resource = `deliveries: ${names.join(', ')}`;
  return { resource, leases: new PostgresLeases(postgres, [OUTBOX_RESOURCE, resource], notify, new Logger('Leases')) };
}

function sinkOf(broker: BrokerOptions | undefined, { timeoutMs }: DeliveryPolicy): CloudEventsClient {
  const { extensions, caCerts, tokenFile } = broker ?? {};
  return new CloudEventsClient({
    timeoutMs,
    ...(extensions && { extensions }),
    ...(caCerts && { caCerts }),
    ...(tokenFile && { token: new TokenFile(tokenFile) }),
  });
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
