import { type Provider, type Type } from '@nestjs/common';
import { AT_ROOT, RECEIVES, SENDERS } from './broker/broker-ingress.js';
import { CloudEventsClient } from './broker/cloudevents-client.js';
import { IS_DEAD_LETTER_SINK } from './broker/dead-letter-sink.js';
import { TokenFile } from './broker/token-file.js';
import type { Publisher } from './broker/publisher.js';
import { remoteConsumer } from './broker/remote-consumer.js';
import { CONSOLE } from './console/console-options.js';
import { ALL_MODULES, HandlerRegistry } from './contracts/handler-registry.js';
import { meshFeatureOf } from './contracts/mesh-feature.js';
import { APPLICATION } from './contracts/permissions.js';
import { ANSWERS_QUERIES } from './cqrs/queries.routes.js';
import { QUERY_CALLERS } from './cqrs/query-callers.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import { ConsumerAddresses } from './delivery/consumer-addresses.js';
import { DeliveryWorkers } from './delivery/delivery-workers.js';
import { DELIVERY_POLICY, WAKE_CONSUMER } from './delivery/inbox-receiver.js';
import { Journal } from './delivery/journal.js';
import { ADMINISTRATION } from './http/administration.js';
import { BACKLOG_AGE, MAX_WAITERS } from './http/admission.js';
import { TOKEN_VERIFIER, type TokenVerifier } from './http/bearer-tokens.js';
import { MESH_LISTENER } from './http/mesh-listener.js';
import { REST_TOKENS } from './http/rest-tokens.guard.js';
import { SINGLE_PROCESS, type LeaseScope } from './leases/leases.js';
import { RECONCILIATION_POLICY } from './maintenance/reconciliation.js';
import { clientOf, publishingClient, remoteQueriesOf } from './mesh-clients.js';
import { MESH_OPTIONS, type MeshOptions, type TokenOptions } from './mesh-options.js';
import { loadJose } from './http/optional-packages.js';
import { InProcessDispatcher } from './outbox/in-process-dispatcher.js';
import { Relay } from './outbox/relay.js';
import { unaddressedMessages } from './outbox/unaddressed-messages.js';
import { Database } from './persistence/database.js';
import { isDataSource, joinUnits } from './persistence/host-data-source.js';
import { UnitOfWork } from './persistence/unit-of-work.js';
import { deliveryOf, DEFAULT_MAX_WAITERS, DEFAULT_RECONCILIATION, DEFAULT_RETENTION } from './policies.js';
import { UNKNOWN_CONSUMER, UNPUBLISHED } from './store/dead-letter-rows.js';
import { RETENTION_POLICY } from './store/expired-rows.js';
import { OUTBOX_RESOURCE } from './store/lease-rows.js';
import { assertOwners, migrationHistories } from './store/migration-histories.js';
import { errorMessage } from './observability/error-message.js';
import { MeshLogger } from './observability/mesh-logger.js';

/** The injection token of a boolean: whether the repositories of the application's data source take part in units. */
const JOINS_UNITS = Symbol('JOINS_UNITS');

/** The modules that this process hosts. */
const hostedBy = ({ modules, hosted = modules }: MeshOptions): readonly Type[] => hosted;

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
  fromOptions(CONSOLE, ({ console, broker }) => console && { ...console, broker: broker?.sink }),
  // A process with a broker and without modules stores the dead letters of the broker.
  fromOptions(IS_DEAD_LETTER_SINK, (options) => options.broker !== undefined && hostedBy(options).length === 0),
  fromOptions(ANSWERS_QUERIES, ({ broker }) => broker !== undefined),
  fromOptions(RECEIVES, ({ broker }) => broker !== undefined),
  fromOptions(AT_ROOT, ({ broker }) => broker?.atRoot ?? false),
  fromOptions(MAX_WAITERS, ({ maxWaiters }) => maxWaiters ?? DEFAULT_MAX_WAITERS),
  fromOptions(MESH_LISTENER, ({ listener }) => listener),
  fromOptions(TOKEN_VERIFIER, ({ broker }) => broker?.tokens && verifierOf('broker.tokens', broker.tokens)),
  fromOptions(SENDERS, ({ broker }) => broker?.tokens?.senders ?? []),
  fromOptions(QUERY_CALLERS, ({ broker }) => broker?.tokens?.callers ?? {}),
  fromOptions(ConsumerAddresses, ({ broker, modules }) => new ConsumerAddresses(broker?.services ?? {}, modules)),
  fromOptions(RemoteQueries, remoteQueriesOf),
  fromOptions(CloudEventsClient, clientOf),
  { provide: BACKLOG_AGE, useFactory: (relay: Relay) => () => relay.backlogAgeMs, inject: [Relay] },
  {
    provide: WAKE_CONSUMER,
    useFactory: (relay: Relay) => (consumer: string) => relay.wakeConsumer(consumer),
    inject: [Relay],
  },
  { provide: Database, useFactory: openDatabase, inject: [MESH_OPTIONS] },
  { provide: JOINS_UNITS, useFactory: joinHost, inject: [MESH_OPTIONS, UnitOfWork] },
  {
    provide: Relay,
    useFactory: relayOf,
    inject: [MESH_OPTIONS, UnitOfWork, Database, HandlerRegistry, Journal, CloudEventsClient, ConsumerAddresses],
  },
];

function joinHost({ database }: MeshOptions, work: UnitOfWork): boolean {
  if (isDataSource(database)) joinUnits(database, () => work.openOrNone);
  return isDataSource(database);
}

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

async function relayOf(
  options: MeshOptions,
  work: UnitOfWork,
  database: Database,
  registry: HandlerRegistry,
  journal: Journal,
  client: CloudEventsClient,
  addresses: ConsumerAddresses,
): Promise<Relay> {
  const { broker } = options;
  const policy = deliveryOf(options);
  const scope = await leaseScopeOf(database, options);
  const dispatcher = broker?.sink
    ? await publisherOf(options, broker.sink, work, scope, journal)
    : new InProcessDispatcher(
        work,
        (type) => registry.consumersOf(type),
        new MeshLogger(InProcessDispatcher.name),
        scope.leases,
        policy.unknownTypeGraceMs,
      );
  const remote = (name: string) =>
    broker && /^https?:/.test(name)
      ? remoteConsumer(name, addresses.isAddress(name), client, work, policy, journal)
      : undefined;
  const workers = new DeliveryWorkers(work, scope, new MeshLogger(DeliveryWorkers.name), remote);
  const toOutbox = { consumersOf: () => undefined, wake: () => dispatcher.wake() };
  const toConsumers = (types: () => readonly string[]) => ({
    types,
    consumersOf: (type: string) => registry.consumersOf(type),
    wake: (names: readonly string[]) => workers.wake(names),
  });
  const unsent = broker?.sink ? toOutbox : toConsumers(() => registry.knownTypes);
  const received = toConsumers(() => registry.handledTypes());
  return new Relay(dispatcher, workers, scope, [
    unaddressedMessages(UNPUBLISHED, work, policy, journal, unsent),
    ...(broker ? [unaddressedMessages(UNKNOWN_CONSUMER, work, policy, journal, received)] : []),
  ]);
}

async function publisherOf(
  options: MeshOptions,
  sink: string,
  work: UnitOfWork,
  { leases }: LeaseScope,
  journal: Journal,
): Promise<Publisher> {
  const [{ Publisher }, { publishRouting }] = await Promise.all([
    import('./broker/publisher.js'),
    import('./broker/publish-routing.js'),
  ]);
  const routing = publishRouting(options.modules);
  const logger = new MeshLogger(Publisher.name);
  return new Publisher(work, publishingClient(options), sink, leases, routing, journal, logger);
}

/** Replicas share a PostgreSQL database by leases on the outbox and on the deliveries of the modules that they host. */
async function leaseScopeOf({ postgres }: Database, options: MeshOptions): Promise<LeaseScope> {
  if (!postgres) return SINGLE_PROCESS;
  const names = hostedBy(options)
    .map((it) => meshFeatureOf(it).name)
    .sort();
  const resource = `deliveries: ${names.join(', ')}`;
  const resources = [OUTBOX_RESOURCE, resource];
  const { PostgresLeases } = await import('./leases/postgres-leases.js');
  return {
    resource,
    leases: new PostgresLeases(postgres, resources, options.notify ?? true, new MeshLogger('Leases')),
  };
}

/** The tokens of REST. @throws Error when the application answers its requests in its own way, without the 401 of this library */
export function restTokens(isWhole: boolean): Provider {
  return fromOptions(REST_TOKENS, async ({ restTokens: options }) => {
    if (options && !isWhole) throw new Error("restTokens needs http: 'whole': set both, or guard your routes yourself");
    return options && { ...options, verifier: await verifierOf('restTokens', options) };
  });
}

async function verifierOf(option: string, options: Omit<TokenOptions, 'senders'>): Promise<TokenVerifier> {
  const { issuer, audience, jwksUrl, credentialsFile } = options;
  await loadJose();
  const { OidcTokens } = await import('./http/oidc/oidc-tokens.js');
  const credentials = credentialsFile && { credentials: new TokenFile(credentialsFile) };
  try {
    return new OidcTokens({ issuer, audience, ...(jwksUrl && { jwksUrl }), ...credentials });
  } catch (error) {
    throw new Error(`The option ${option}: ${errorMessage(error)}`, { cause: error });
  }
}
