import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once, setMaxListeners } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { addressesOf, withoutCircles, type Services } from './addresses.js';
import { Administration } from './administration.js';
import { AsynchronousChannel } from './asynchronous-channel.js';
import { ANSWERS, type ChannelKind } from './channel.js';
import { consumerOf } from './consumers.js';
import { describe } from './description.js';
import { answerBroken, refuseAsGo, refuseExpectation, SERVER_OPTIONS } from './go-http.js';
import { answer } from './ingress.js';
import { refuseOtherSite } from './other-sites.js';
import { readManifests, type Manifests } from './manifests.js';
import { Reporter } from './reporter.js';
import { Retries } from './retries.js';
import { Subscribers } from './subscribers.js';
import type { StoredEvent } from './stored-event.js';
import { SynchronousChannel } from './synchronous-channel.js';

export interface BrokerOptions {
  /** A folder of YAML files with Brokers and Triggers, or its parsed contents. */
  readonly manifests: string | Manifests;
  /** How the broker delivers; default: `synchronous`, as Knative since 1.13. */
  readonly channel?: ChannelKind;
  /** 0 for a free port. */
  readonly port: number;
  /** `sqlite:<path>`. Only one broker may use the file. */
  readonly database: string;
  /** Base URLs of Services, by name. */
  readonly services: Services;
  /** Prints a line for each step of a message; default: no output. */
  readonly print?: (line: string) => void;
  readonly isColoured?: boolean;
}

export interface Broker {
  readonly url: string;
  /** The subscriptions, and warnings about manifests that are left out, as lines for a terminal. */
  readonly description: readonly string[];
  /**
   * Stops listening, and delivers messages for up to `graceMs`. Then it closes the connections of publishers that have no
   * answer yet, and stored messages are delivered after the next start.
   */
  stop(graceMs?: number): Promise<void>;
}

/** Time for deliveries after stop() is called, in ms. */
const GRACE_MS = 5000;

/**
 * Starts a Knative Broker for a laptop. It is a development tool; production is Knative. In either kind of channel an event
 * that was answered with 202 is not lost.
 * @throws BadManifest, or Error when the port or the database can't be opened
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { services, channel: kind = 'synchronous', print = () => undefined } = options;
  const read = typeof options.manifests === 'string' ? readManifests(options.manifests) : options.manifests;
  const { brokers } = read;
  const warnings = [...read.warnings];
  const triggers = withoutCircles(read.triggers, services, options.port, (it) => warnings.push(it));
  const database = await Database.open({
    database: options.database,
    entities: [],
    histories: [meshMigrations],
    migrate: true,
  });
  const work = new UnitOfWork(database);
  const stopping = cancellation();
  const reporter = new Reporter(print, options.isColoured ?? false);
  const subscribers = new Subscribers();
  const retries = new Retries();
  let url = '';
  const addressOf = (broker: string) => `${url}/${broker}`;
  const subscriptions = triggers.map((trigger) => {
    return { ...trigger, consumer: consumerOf(trigger, addressesOf(trigger, services), subscribers) };
  });
  const consumersOf = (event: StoredEvent) =>
    subscriptions
      .filter(({ broker, matches }) => broker === event._mesh.broker && matches(event))
      .map(({ consumer }) => consumer);
  const synchronous = new SynchronousChannel(consumersOf, retries, reporter, addressOf);
  // Also in the other mode it delivers what an earlier run has stored, and what is replayed.
  const asynchronous = new AsynchronousChannel(
    subscriptions.map(({ consumer }) => consumer),
    { consumersOf, work, retries, reporter, addressOf, stopping: stopping.signal },
  );
  const inMemory = () => ({ open: synchronous.open, retrying: retries.waiting });
  const administration = new Administration(work, inMemory, () => asynchronous.wake());
  const ingress = {
    brokers,
    answers: ANSWERS[kind],
    channel: kind === 'synchronous' ? synchronous : asynchronous,
    onRefused: (status: number, reason: string) => reporter.refused(status, reason),
  };
  const publishers = new Set<AbortController>();
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    if (refuseAsGo(request, response)) return;
    if (refuseOtherSite(request, response)) return;
    if (request.url?.startsWith('/mesh/') && (await administration.answer(request, response))) return;
    const publisher = cancellation();
    publishers.add(publisher);
    // A publisher that hangs up cancels the deliveries, as in a real broker.
    response.once('close', () => publisher.abort(new Error('the publisher has hung up')));
    await answer(request, response, ingress, publisher.signal).finally(() => publishers.delete(publisher));
  };
  const server = createServer(SERVER_OPTIONS, (request, response) => {
    serve(request, response).catch((error: Error) => {
      reporter.refused(500, error.message);
      response.destroy();
    });
  });
  server.on('checkExpectation', refuseExpectation);
  server.on('clientError', answerBroken);
  try {
    server.listen(options.port, '127.0.0.1');
    await once(server, 'listening');
  } catch (error) {
    await database.close();
    throw error;
  }
  url = `http://localhost:${(server.address() as AddressInfo).port}`;
  const statistics = await outboxStatistics(work.sql);
  asynchronous.wake();
  return {
    url,
    description: describe(url, kind, { brokers, triggers, warnings }, services, statistics),
    stop: async (graceMs = GRACE_MS) => {
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      const deadline = performance.now() + graceMs;
      while ((publishers.size > 0 || asynchronous.isBusy) && performance.now() < deadline) await wait(5);
      const reason = new Error('the broker stops');
      stopping.abort(reason);
      for (const publisher of publishers) publisher.abort(reason);
      await subscribers.close();
      server.closeAllConnections();
      await closed;
      await asynchronous.stopped();
      await database.close();
    },
  };
}

/** Cancels any number of deliveries. */
function cancellation(): AbortController {
  const controller = new AbortController();
  // Each delivery in flight listens; by default Node warns of the eleventh listener.
  setMaxListeners(0, controller.signal);
  return controller;
}
