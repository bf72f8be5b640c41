import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger, type INestApplication, type Type } from '@nestjs/common';
import { CommandBus, EventBus } from '@nestjs/cqrs';
import { Test } from '@nestjs/testing';
import { configureHttp } from '../../src/infrastructure/http/configure-http.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { insertIntoOutbox } from '../../src/infrastructure/store/outbox-rows.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { startBroker, type Broker } from '../../tools/broker/broker.js';
import type { ChannelKind } from '../../tools/broker/channel.js';
import { freePort } from '../../tools/ports.js';
import { broker as brokerManifest, manifests, trigger } from './broker-requests.js';
import { eventually } from './cabs.js';
import { behaviourOf, Happened, meshOf, plantedModules, Work, type Behaviour } from './planted.js';

/*
 * The planted modules on each transport, so that the same tests run on all of them: in process; over the laptop broker
 * with both modules in one application; over the broker with an application and a database for each module. (The
 * applications run in the process of the test, but share nothing.)
 */

export const TRANSPORTS = ['in-process', 'knative', 'split'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** A transport, with the kind of the broker's channel where it has a broker. */
export interface Route {
  /** For the name of a test. */
  readonly route: string;
  readonly transport: Transport;
  readonly channel?: ChannelKind;
}

/** The channel makes the same difference for one application as for several, so `split` has only the default. */
export const ROUTES: readonly Route[] = [
  { route: 'in process', transport: 'in-process' },
  { route: 'over a synchronous channel', transport: 'knative', channel: 'synchronous' },
  { route: 'over an asynchronous channel', transport: 'knative', channel: 'asynchronous' },
  { route: 'split, over a synchronous channel', transport: 'split', channel: 'synchronous' },
];

/** Retries and backoff of both the relay and the broker. Knative truncates durations to tenths of a second. */
const DELIVERY = { retry: 4, backoffDelayMs: 100 };

/** The planted modules on one of the transports. */
export class PlantedMesh {
  readonly transport: Transport;
  readonly behaviour: Behaviour;
  private readonly modules: { Left: Type; Right: Type };
  private readonly databases = new Map<string, string>();
  private readonly ports = new Map<string, number>();
  private apps = new Map<string, INestApplication>();
  private broker?: Broker;
  private readonly brokerDatabase = `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-broker-')), 'mesh.db')}`;

  constructor(
    private readonly route: Route,
    private readonly fresh: () => Promise<string>,
    handlers: Partial<Behaviour>,
  ) {
    this.transport = route.transport;
    this.behaviour = behaviourOf(handlers);
    this.modules = plantedModules(this.behaviour);
  }

  async start(): Promise<this> {
    if (this.transport === 'in-process') {
      await this.host('monolith', [this.modules.Left, this.modules.Right]);
      return this;
    }
    for (const name of ['broker', 'left', 'right', 'dead-letters']) {
      if (!this.ports.has(name)) this.ports.set(name, await freePort());
    }
    if (this.transport === 'knative') this.ports.set('right', this.ports.get('left')!);
    await this.startBroker();
    const { Left, Right } = this.modules;
    if (this.transport === 'knative') {
      await this.host('left', [Left, Right]);
    } else {
      await this.host('left', [Left]);
      await this.host('right', [Right]);
    }
    await this.host('dead-letters', []);
    return this;
  }

  async stop(): Promise<void> {
    // The broker stops first: it would use up the retries of its messages while the applications stop.
    await this.stopBroker();
    for (const app of this.apps.values()) await app.close();
    this.apps.clear();
  }

  /** The application that hosts `left`. */
  get left(): INestApplication {
    return this.apps.get('monolith') ?? this.apps.get('left')!;
  }

  /** The dead letters of all consumers. */
  get deadLetters(): DeadLetters {
    return (this.apps.get('monolith') ?? this.apps.get('dead-letters')!).get(DeadLetters);
  }

  /** The units of work of `left`. */
  get work(): UnitOfWork {
    return this.left.get(UnitOfWork);
  }

  send(n: number, key: string): Promise<void> {
    return this.left.get(CommandBus).execute(new Work(key, { n }));
  }

  publish(n: number, key: string): Promise<void> {
    return this.work.run(async () => this.left.get(EventBus).publish(new Happened(key, { n })));
  }

  /** Sends the command of `left` by the bus that Nest injects into the code of `right`, which its contract forbids. */
  sendFromRight(n: number, key: string): Promise<void> {
    const right = this.apps.get('right') ?? this.left;
    return right.select(this.modules.Right).get(CommandBus, { strict: true }).execute(new Work(key, { n }));
  }

  /**
   * Sends an event as it is, past all checks of the sender: for instance again, as a relay does when its process crashed
   * before it removed the event from the outbox.
   */
  async sendAgain(event: CloudEvent): Promise<void> {
    await this.work.run(() => insertIntoOutbox(this.work.sql, [event]));
    this.left.get(Relay).wake();
  }

  /** Number of pending messages of all applications and the broker. */
  async pending(): Promise<number> {
    const apps = [...this.apps.values()].map((app) => outboxStatistics(app.get(UnitOfWork).sql));
    let pending = (await Promise.all(apps)).reduce((sum, it) => sum + it.pending, 0);
    if (this.broker) {
      const reply = await fetch(`${this.broker.url}/mesh/outbox`);
      pending += ((await reply.json()) as { pending: number }).pending;
    }
    return pending;
  }

  /** Waits until no message is pending. Reads three times, because a message may move between two applications. */
  async idle(): Promise<void> {
    let idleReads = 0;
    await eventually(
      () => this.pending(),
      (pending) => (idleReads = pending === 0 ? idleReads + 1 : 0) >= 3,
    );
  }

  async stopBroker(): Promise<void> {
    await this.broker?.stop(0);
    this.broker = undefined;
  }

  async startBroker(): Promise<void> {
    const delivery = { retry: DELIVERY.retry, backoffPolicy: 'exponential', backoffDelay: 'PT0.1S' };
    const sink = { deadLetterSink: { uri: `${this.url('dead-letters')}/mesh/dead-letters` } };
    const subscription = (name: string, consumer: string, type: string) => {
      const subscriber = { uri: `${this.url(consumer)}/mesh/${consumer}` };
      return trigger(name, { broker: 'default', filter: { attributes: { type } }, subscriber }, 'planted');
    };
    const folder = manifests(
      brokerManifest('default', { ...delivery, ...sink }, 'planted'),
      subscription('left-work', 'left', Work.type),
      subscription('left-happened', 'left', Happened.type),
      subscription('right-happened', 'right', Happened.type),
    );
    const port = this.ports.get('broker')!;
    const { channel } = this.route;
    this.broker = await startBroker({ manifests: folder, channel, port, database: this.brokerDatabase, services: {} });
  }

  private url(name: string): string {
    return `http://127.0.0.1:${this.ports.get(name)}`;
  }

  private async host(name: string, hosted: Type[]): Promise<void> {
    const { Left, Right } = this.modules;
    if (!this.databases.has(name)) this.databases.set(name, await this.fresh());
    const database = this.databases.get(name)!;
    const services = { left: this.url('left'), right: this.url('right') };
    const broker = { sink: `${this.url('broker')}/planted/default`, services };
    const isLocal = this.transport === 'in-process';
    const options = { database, hosted, delivery: DELIVERY, ...(!isLocal && { broker }) };
    const testing = await Test.createTestingModule({ imports: meshOf([Left, Right], options) }).compile();
    Logger.overrideLogger(false);
    const app = testing.createNestApplication({ bodyParser: false });
    configureHttp(app);
    await (isLocal ? app.init() : app.listen(this.ports.get(name)!, '127.0.0.1'));
    this.apps.set(name, app);
  }
}
