import { Controller, Get } from '@nestjs/common';
import { Unavailable } from '../contracts/domain-errors.js';
import { Connections } from '../http/connections.js';
import { ServedOn } from '../http/listener.guard.js';
import { Operation } from '../http/openapi.js';
import { Relay } from '../outbox/relay.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';

@Controller('health')
@ServedOn('both')
export class HealthController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    private readonly connections: Connections,
  ) {}

  @Get('live')
  @Operation('The process runs')
  live(): object {
    return { status: 'live' };
  }

  @Get('ready')
  @Operation('The process can take requests: the database answers, the relay runs, the broker accepts messages')
  async ready(): Promise<object> {
    if (this.connections.areEnding) throw new Unavailable('The process is stopping');
    if (!this.relay.isRunning) throw new Unavailable('The relay is not running');
    if (this.relay.suspendedReason) throw new Unavailable(this.relay.suspendedReason);
    try {
      await this.work.sql.all('SELECT 1');
    } catch (error) {
      throw new Unavailable(`The database doesn't answer: ${(error as Error).message}`);
    }
    const broker = this.relay.brokerState;
    return { status: 'ready', ...(broker && { broker }) };
  }
}
