import { Injectable } from '@nestjs/common';
import { Unavailable } from '../contracts/domain-errors.js';
import { Connections } from '../http/connections.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import type { BrokerFailure, BrokerState } from '../outbox/outbox-dispatcher.js';
import { Relay } from '../outbox/relay.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { writeNothing } from '../store/idempotency-rows.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** How long the outcome of a look at the database is used, in ms. */
const LOOK_MS = 250;

@Injectable()
export class HealthRoutes {
  readonly routes: readonly MeshRoute[] = [
    meshRoute({
      method: 'GET',
      path: '/health/live',
      summary: 'The process runs',
      isPublic: true,
      handle: () => Promise.resolve({ status: 'live' }),
    }),
    meshRoute({
      method: 'GET',
      path: '/health/ready',
      summary: 'The process can take requests: the database answers, the relay runs, the broker accepts messages',
      isPublic: true,
      handle: () => this.ready(),
    }),
  ];
  private readonly logger = new MeshLogger('Health');
  /** The last look at the database, and when it began. */
  private look = Promise.resolve();
  private lookedAt = -Infinity;

  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly connections: Connections,
  ) {}

  private async ready(): Promise<object> {
    if (this.connections.areEnding) throw new Unavailable('The process is stopping');
    if (!this.relay.isRunning) throw new Unavailable('The relay is not running');
    // Any client may ask, so addresses are in the log only, and at GET /mesh/outbox.
    if (this.relay.suspendedReason) throw new Unavailable('The broker refuses every message: see the log');
    try {
      await this.assertDatabase();
    } catch (error) {
      this.logger.error({ err: error }, 'Not ready: the database does not answer, or takes no writes');
      // Errors of SQLite hold no address.
      const why = this.work.sql.dialect === 'sqlite' ? (error as Error).message : 'see the log';
      throw new Unavailable(`The database doesn't answer, or takes no writes: ${why}`);
    }
    // The leases log the cause.
    if (this.relay.hasNoLeases)
      throw new Unavailable('This process gets no leases on the database, so it handles no messages: see the log');
    const broker = this.relay.brokerState;
    return { status: 'ready', ...(broker && { broker: withoutReasons(broker) }) };
  }

  /** Anyone may ask as often as they like, so one look at the database serves all for a while. */
  private assertDatabase(): Promise<void> {
    const now = performance.now();
    if (now - this.lookedAt < LOOK_MS) return this.look;
    this.lookedAt = now;
    this.look = (async () => {
      await this.work.sql.all('SELECT 1');
      await this.work.health.assertWritable(() => this.work.run(() => writeNothing(this.work.sql)));
    })();
    return this.look;
  }
}

/** The reason of a failure may hold an address. */
function withoutReasons({ waiting, refused, unreachable }: BrokerState): object {
  const publicPart = ({ since, attempts }: BrokerFailure) => ({ since, attempts });
  return {
    waiting,
    ...(refused && { refused: publicPart(refused) }),
    ...(unreachable && { unreachable: publicPart(unreachable) }),
  };
}
