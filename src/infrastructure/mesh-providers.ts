import { Logger, type Provider, type Type } from '@nestjs/common';
import { AT_ROOT, BROKER_TOKENS, RECEIVES } from './broker/broker-ingress.js';
import { CloudEventsClient } from './broker/cloudevents-client.js';
import { IS_DEAD_LETTER_SINK } from './broker/dead-letter-sink.js';
import { TokenFile } from './broker/oidc/token-file.js';
import { Publisher } from './broker/publisher.js';
import { remoteConsumer } from './broker/remote-consumer.js';
import { ALL_MODULES, HandlerRegistry } from './contracts/handler-registry.js';
import { meshFeatureOf } from './contracts/mesh-feature.js';
import { ANSWERS_QUERIES } from './cqrs/queries.controller.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { ConsumerAddresses } from './delivery/consumer-addresses.js';
import { DeliveryWorkers } from './delivery/delivery-workers.js';
import { DELIVERY_POLICY } from './delivery/inbox-receiver.js';
import { ADMINISTRATION } from './http/administration.guard.js';
import { SINGLE_PROCESS, type LeaseScope } from './leases/leases.js';
import { PostgresLeases } from './leases/postgres-leases.js';
import { RECONCILIATION_POLICY } from './maintenance/reconciliation.js';
import { MESH_OPTIONS, type BrokerOptions, type MeshOptions } from './mesh-options.js';
import { InProcessDispatcher } from './outbox/in-process-dispatcher.js';
import { APPLICATION } from './outbox/outbox.js';
import { Relay } from './outbox/relay.js';
import { Database } from './persistence/database.js';
import { UnitOfWork } from './persistence/unit-of-work.js';
import { DEFAULT_DELIVERY, DEFAULT_RECONCILIATION, DEFAULT_RETENTION } from './policies.js';
import { RETENTION_POLICY } from './store/expired-rows.js';
import { OUTBOX_RESOURCE } from './store/lease-rows.js';
import { assertOwners, migrationHistories } from './store/migration-histories.js';

/** The modules that this process hosts. */
const hostedBy = ({ modules, hosted = modules }: MeshOptions): readonly Type[] => hosted;
const deliveryOf = (options: MeshOptions) => ({ ...DEFAULT_DELIVERY, ...options.delivery });

/** A provider whose value follows from the options. */
function fromOptions(provide: symbol | Type, useFactory: (options: MeshOptions) => unknown): Provider {
  return { provide: provide as symbol, useFactory, inject: [MESH_OPTIONS] };
}

/** The providers that depend on the options of the module. */
export const optionProviders: Provider[] = [
  fromOptions(APPLICATION, ({ application }) => application),
  fromOptions(ALL_MODULES, ({ modules }) => modules),
  fromOptions(DELIVERY_POLICY, deliveryOf),
  fromOptions(RETENTION_POLICY, ({ retention }) => ({ ...DEFAULT_RETENTION, ...retention })),
  fromOptions(RECONCILIATION_POLICY, ({ reconciliation }) => ({ ...DEFAULT_RECONCILIATION, ...reconciliation })),
  fromOptions(ADMINISTRATION, ({ administration }) => administration ?? { isDevelopment: false }),
  // A process with a broker and without modules stores the dead letters of the broker.
  fromOptions(IS_DEAD_LETTER_SINK, (options) => options.broker !== undefined && hostedBy(options).length === 0),
  fromOptions(ANSWERS_QUERIES, ({ broker }) => broker !== undefined),
  fromOptions(RECEIVES, ({ broker }) => broker !== undefined),
  fromOptions(AT_ROOT, ({ broker }) => broker?.atRoot ?? false),
  fromOptions(BROKER_TOKENS, ({ broker }) => broker?.tokens && verifierOf(broker.tokens)),
  fromOptions(ConsumerAddresses, ({ broker }) => new ConsumerAddresses(broker?.services ?? {})),
  fromOptions(RemoteQueries, ({ broker }) => new RemoteQueries(broker?.services ?? {})),
  fromOptions(CloudEventsClient, clientOf),
  { provide: Database, useFactory: openDatabase, inject: [MESH_OPTIONS] },
  {
    provide: Relay,
    useFactory: relayOf,
    inject: [MESH_OPTIONS, UnitOfWork, Database, HandlerRegistry, CloudEventsClient],
  },
];

/** @throws Error when other processes host some modules, and no broker reaches them */
function openDatabase(options: MeshOptions): Promise<Database> {
  const hosted = hostedBy(options);
  if (!options.broker?.sink && hosted.length > 0 && hosted.length < options.modules.length)
    throw new Error('Modules in other processes need a broker: set broker.sink, or host all modules in this process');
  assertOwners(options.modules, options.migrations);
  return Database.open({
    database: options.database,
    entities: hosted.flatMap((it) => [...(meshFeatureOf(it).entities ?? [])]),
    histories: migrationHistories(hosted, options.migrations),
    migrate: options.migrate ?? false,
    ...(options.messagesPerRequest && { messagesPerRequest: options.messagesPerRequest }),
  });
}

function relayOf(
  options: MeshOptions,
  work: UnitOfWork,
  database: Database,
  registry: HandlerRegistry,
  client: CloudEventsClient,
): Relay {
  const { broker } = options;
  const scope = leaseScopeOf(database, options);
  const dispatcher = broker?.sink
    ? new Publisher(work, client, broker.sink, scope.leases, new Logger(Publisher.name))
    : new InProcessDispatcher(
        work,
        (type) => registry.consumersOf(type),
        new Logger(InProcessDispatcher.name),
        scope.leases,
      );
  const remote = (name: string) =>
    broker && /^https?:/.test(name) ? remoteConsumer(name, client, work, deliveryOf(options)) : undefined;
  return new Relay(dispatcher, new DeliveryWorkers(work, scope, new Logger(DeliveryWorkers.name), remote), scope);
}

/** Replicas share a PostgreSQL database by leases on the outbox and on the deliveries of the modules that they host. */
function leaseScopeOf({ postgres }: Database, options: MeshOptions): LeaseScope {
  if (!postgres) return SINGLE_PROCESS;
  const names = hostedBy(options)
    .map((it) => meshFeatureOf(it).name)
    .sort();
  const resource = `deliveries: ${names.join(', ')}`;
  const resources = [OUTBOX_RESOURCE, resource];
  return { resource, leases: new PostgresLeases(postgres, resources, options.notify ?? true, new Logger('Leases')) };
}

function clientOf({ broker, ...options }: MeshOptions): CloudEventsClient {
  const { extensions, caCerts, tokenFile } = broker ?? {};
  return new CloudEventsClient({
    timeoutMs: { ...DEFAULT_DELIVERY, ...options.delivery }.timeoutMs,
    ...(extensions && { extensions }),
    ...(caCerts && { caCerts }),
    ...(tokenFile && { token: new TokenFile(tokenFile) }),
  });
}

/** JOSE is loaded on demand: loading it takes a while, and only processes that check tokens need it. */
async function verifierOf({ credentialsFile, ...rules }: NonNullable<BrokerOptions['tokens']>) {
  const { BrokerTokens } = await import('./broker/oidc/broker-tokens.js');
  return new BrokerTokens({ ...rules, ...(credentialsFile && { credentials: new TokenFile(credentialsFile) }) });
}
