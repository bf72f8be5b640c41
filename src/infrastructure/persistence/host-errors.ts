import type { EventEmitter } from 'node:events';
import type { PoolClient } from 'pg';
import type { DataSource } from 'typeorm';
import { noteReported } from './sql.js';
import { Damage } from './sqlite/damage.js';
import { sqliteConnection } from './sqlite/sqlite-statements.js';

type Obtain = () => Promise<[PoolClient, ...unknown[]]>;

/**
 * Notes what the own connections of an application report, which are to the database of the mesh: when handlers and
 * controllers use them outside of units of work and throw their errors on, the database is at fault, and not the message.
 */
export function noteErrorsOf(host: DataSource): void {
  if (host.options.type === 'better-sqlite3') {
    if (host.isInitialized) new Damage().watch(sqliteConnection(host));
    return;
  }
  const watched = new WeakSet<PoolClient>();
  const driver = host.driver as unknown as Record<'obtainMasterConnection' | 'obtainSlaveConnection', Obtain>;
  for (const name of ['obtainMasterConnection', 'obtainSlaveConnection'] as const) {
    const obtain = driver[name].bind(driver);
    driver[name] = async () => {
      const obtained = await obtain().catch((error: unknown) => {
        throw noteReported(error);
      });
      const [client] = obtained;
      if (!watched.has(client)) watch(client);
      watched.add(client);
      return obtained;
    };
  }
}

function watch(client: PoolClient): void {
  const { connection } = client as unknown as { connection: EventEmitter };
  connection.on('errorMessage', noteReported);
  client.on('error', noteReported);
}
