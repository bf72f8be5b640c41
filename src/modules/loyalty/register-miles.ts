import { CommandHandler, EventBus } from '@nestjs/cqrs';
import { In } from 'typeorm';
import type { CausedBy, DurableCommandBatchHandler } from '../../infrastructure/contracts/batch-handler.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { MAX_ID } from '../../infrastructure/contracts/schemas.js';
import { MilesRegistered, RegisterMiles } from './contract.js';
import { milesForTransit } from './miles.js';
import { AwardedMiles } from './tables.js';

@CommandHandler(RegisterMiles)
export class RegisterMilesHandler implements DurableCommandBatchHandler<RegisterMiles> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly clock: Clock,
  ) {}

  async executeMany(commands: readonly RegisterMiles[], causedBy: CausedBy<RegisterMiles>): Promise<void> {
    const clients = new Map(commands.map(({ subject, data: { clientId } }) => [subject, clientId]));
    const miles = await this.credit(clients);
    for (const command of commands) {
      const { clientId } = command.data;
      const credited = miles.get(command.subject) ?? 0;
      causedBy(
        command,
        () => void this.events.publish(new MilesRegistered(command.subject, { clientId, miles: credited })),
      );
    }
  }

  /** @param clients by their transits. @returns the miles of each transit that has some */
  private async credit(clients: ReadonlyMap<string, number>): Promise<Map<string, number>> {
    const all = this.work.repository(AwardedMiles);
    const known = await all.findBy({ transitId: In([...clients.keys()]) });
    const miles = new Map(known.map((it) => [it.transitId, it.miles]));
    const fresh = [...clients].filter(([transitId, clientId]) => !miles.has(transitId) && clientId <= MAX_ID);
    const active = await this.countTransactions(fresh.map(([, clientId]) => clientId));
    const grant = milesForTransit(this.clock.now().getTime());
    const rows = fresh
      .filter(([, clientId]) => active.has(clientId))
      .map(([transitId, clientId]) => ({
        transitId,
        clientId,
        miles: grant.miles,
        grantedAt: new Date(grant.grantedAt).toISOString(),
        expiresAt: grant.expiresAt === null ? null : new Date(grant.expiresAt).toISOString(),
      }));
    if (rows.length > 0) await all.insert(rows);
    for (const row of rows) miles.set(row.transitId, row.miles);
    return miles;
  }

  /**
   * Adds a transaction to the active accounts for each time that a client is listed. The update locks an account, so that a
   * deactivation happens either before or after.
   * @returns the clients whose accounts are active
   */
  private async countTransactions(clientIds: readonly number[]): Promise<Set<number>> {
    const active = new Set<number>();
    const times = new Map<number, number>();
    for (const clientId of clientIds) times.set(clientId, (times.get(clientId) ?? 0) + 1);
    for (const n of new Set(times.values())) {
      const clients = [...times.keys()].filter((clientId) => times.get(clientId) === n).sort((a, b) => a - b);
      const list = clients.map((_, index) => `$${index + 2}`).join(', ');
      const found = await this.work.sql.all<{ client_id: number }>(
        `UPDATE loyalty_account SET transactions = transactions + $1
         WHERE active AND client_id IN (${list}) RETURNING client_id`,
        [n, ...clients],
      );
      for (const { client_id } of found) active.add(client_id);
    }
    return active;
  }
}
