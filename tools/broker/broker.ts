import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { DeliveryWorkers } from '../../src/infrastructure/delivery/delivery-workers.js';
import { SINGLE_PROCESS } from '../../src/infrastructure/leases/leases.js';
import { InProcessDispatcher } from '../../src/infrastructure/outbox/in-process-dispatcher.js';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { insertIntoOutbox } from '../../src/infrastructure/store/outbox-rows.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { Administration } from './administration.js';
import { consumerName, consumersOf, type Addresses } from './consumers.js';
import { answer, answerBroken, MAX_HEADER_BYTES } from './ingress.js';
import { readManifests, type Destination, type Manifests, type TriggerManifest } from './manifests.js';
import { Reporter } from './reporter.js';
import { Subscribers } from './subscribers.js';
import type { StoredEvent } from './stored-event.js';

export interface BrokerOptions {
  /** A folder of YAML files with Brokers and Triggers, or its parsed contents. */
  readonly manifests: string | Manifests;
  /** 0 for a free port. */
  readonly port: number;
  /** `sqlite:<path>`. Only one broker may use the file. */
  readonly database: string;
  /** Base URLs of Services, by name. */
  readonly services: Readonly<Record<string, string>>;
  /** Prints a line for each step of a message; default: no output. */
  readonly print?: (line: string) => void;
  readonly isColoured?: boolean;
}

export interface Broker {
  readonly url: string;
  /** The subscriptions, as lines for a terminal. */
  readonly description: readonly string[];
  /** Stops listening, and delivers messages for up to `graceMs`; the others are delivered after the next start. */
  stop(graceMs?: number): Promise<void>;
}

/** Time for deliveries after stop() is called, in ms. */
const GRACE_MS = 5000;

/**
 * Starts a Knative Broker for a laptop. It is a development tool; production is Knative. Unlike Knative's in-memory
 * channel it stores each accepted event on disk before it answers 202.
 * @throws BadManifest, or Error when the port or the database can't be opened
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { services, print = () => undefined } = options;
  const { brokers, triggers } =
    typeof options.manifests === 'string' ? readManifests(options.manifests) : options.manifests;
  const consumersWithSink = new Set(triggers.filter(({ deadLetterSink }) => deadLetterSink).map(consumerName));
  const reporter = new Reporter(print, options.isColoured ?? false, (consumer) => consumersWithSink.has(consumer));
  const database = await Database.open({
    database: options.database,
    entities: [],
    histories: [meshMigrations],
    migrate: true,
  });
  const work = new UnitOfWork(database);
  const matchingTriggers = (event: StoredEvent) =>
    triggers.filter(({ broker, matches }) => broker === event._mesh.broker && matches(event)).map(consumerName);
  const route = (_type: string, json: string) => matchingTriggers(JSON.parse(json) as StoredEvent);
  const workers = new DeliveryWorkers(work, SINGLE_PROCESS, reporter.logger);
  const relay = new Relay(new InProcessDispatcher(work, route, reporter.logger), workers);
  const administration = new Administration(work, relay);
  const subscribers = new Subscribers();
  let isStopping = false;
  let url = '';
  const context = {
    work,
    subscribers,
    url: () => url,
    isStopping: () => isStopping,
    wake: () => relay.wake(),
    wakeConsumer: (name: string) => relay.wakeConsumer(name),
  };
  const consumers = triggers.flatMap((trigger) => consumersOf(trigger, addresses(trigger, services), context));
  const store = async (event: StoredEvent) => {
    await work.run(async () => {
      await insertIntoOutbox(work.sql, [event]);
      // The same commit creates the deliveries.
      relay.aboutToCommit();
      work.unit.afterCommit(() => relay.wake());
    });
    reporter.accepted(event, matchingTriggers(event));
  };
  const onRefused = (status: number, reason: string) => reporter.refused(status, reason);
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.url?.startsWith('/mesh/') && (await administration.answer(request, response))) return;
    await answer(request, response, { brokers, store, onRefused });
  };
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: 120_000 }, (request, response) => {
    serve(request, response).catch((error: Error) => {
      reporter.refused(500, error.message);
      response.destroy();
    });
  });
  server.on('clientError', answerBroken);
  try {
    server.listen(options.port, '127.0.0.1');
    await once(server, 'listening');
  } catch (error) {
    await database.close();
    throw error;
  }
  url = `http://localhost:${(server.address() as AddressInfo).port}`;
  await relay.start(consumers);
  const statistics = await outboxStatistics(work.sql);
  return {
    url,
    description: describe(url, brokers, triggers, services, statistics),
    stop: async (graceMs = GRACE_MS) => {
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      const deadline = performance.now() + graceMs;
      await relay.idle(deadline);
      isStopping = true;
      await subscribers.close();
      // Aborted deliveries return at once.
      await relay.stop(performance.now() + 1000);
      server.closeAllConnections();
      await closed;
      await database.close();
    },
  };
}

function addresses({ subscriber, deadLetterSink }: TriggerManifest, services: BrokerOptions['services']): Addresses {
  return {
    subscriber: { url: urlOf(subscriber, services) },
    ...(deadLetterSink && { deadLetterSink: { url: urlOf(deadLetterSink, services) } }),
  };
}

function urlOf({ service, uri }: Destination, services: BrokerOptions['services']): string | undefined {
  const base = service === undefined ? uri : services[service];
  if (base === undefined) return undefined;
  return service === undefined || uri === undefined ? new URL(base).href : new URL(uri, base).href;
}

function describe(
  url: string,
  brokers: readonly string[],
  triggers: readonly TriggerManifest[],
  services: BrokerOptions['services'],
  { pending, deadLetters }: { pending: number; deadLetters: number },
): string[] {
  const shown = (to: Destination) => urlOf(to, services) ?? `UNRESOLVED (--service ${to.service}=URL)`;
  const lines = new Map<string, string[]>();
  for (const { filterText, broker, subscriber, deadLetterSink, delivery } of triggers) {
    const sink = deadLetterSink ? `dead letters to ${shown(deadLetterSink)}` : 'dead letters parked here';
    const terms = `Broker ${broker}, retries ${delivery.retry}, ${sink}:`;
    lines.set(terms, [...(lines.get(terms) ?? []), `  ${filterText} -> ${shown(subscriber)}`]);
  }
  return [
    'Laptop broker: a development tool. Production is Knative.',
    ...brokers.map((broker) => `Broker ${broker}: ${url}/${broker}`),
    ...[...lines].flatMap(([terms, subscriptions]) => [terms, ...subscriptions]),
    ...(pending > 0 ? [`${pending} messages of an earlier run are still to be delivered.`] : []),
    ...(deadLetters > 0
      ? [`${deadLetters} dead letters are parked here: npm run mesh:dead-letters -- list --url ${url}`]
      : []),
  ];
}
