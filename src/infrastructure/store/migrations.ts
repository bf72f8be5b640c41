import type { QueryRunner } from 'typeorm';
import type { MigrationHistory } from '../persistence/migrate.js';

/** The tables of the mesh itself. Times are in ms since 1970; an `event` is a CloudEvent in JSON. */
export const meshMigrations: MigrationHistory = {
  owner: 'mesh',
  migrations: [
    {
      name: 'MeshTables1763900000000',
      up: async (runner) => {
        const { sequence, time } = types(runner);
        for (const statement of [
          `CREATE TABLE mesh_outbox (
            seq ${sequence},
            id text NOT NULL,
            source text NOT NULL,
            type text NOT NULL,
            partition_key text NOT NULL,
            event text NOT NULL,
            created_at ${time} NOT NULL
          )`,
          `CREATE TABLE mesh_delivery (
            seq ${sequence},
            consumer text NOT NULL,
            id text NOT NULL,
            type text NOT NULL,
            partition_key text NOT NULL,
            event text NOT NULL,
            created_at ${time} NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            due_at ${time} NOT NULL,
            last_error text
          )`,
          // First attempts go in order, retries when they are due: two small indexes instead of one that fits neither.
          `CREATE INDEX mesh_delivery_first ON mesh_delivery (consumer, seq) WHERE attempts = 0`,
          `CREATE INDEX mesh_delivery_retry ON mesh_delivery (consumer, due_at) WHERE attempts > 0`,
          `CREATE TABLE mesh_inbox (
            consumer text NOT NULL,
            source text NOT NULL,
            id text NOT NULL,
            handled_at ${time} NOT NULL,
            PRIMARY KEY (consumer, source, id)
          )`,
          `CREATE INDEX mesh_inbox_handled ON mesh_inbox (handled_at)`,
          `CREATE TABLE mesh_dead_letter (
            id text PRIMARY KEY,
            consumer text NOT NULL,
            event_id text NOT NULL,
            type text NOT NULL,
            subject text,
            event text NOT NULL,
            attempts integer NOT NULL,
            cause text NOT NULL,
            error text NOT NULL,
            dead_at ${time} NOT NULL
          )`,
          `CREATE INDEX mesh_dead_letter_dead ON mesh_dead_letter (dead_at)`,
          `CREATE TABLE mesh_idempotency_key (
            idempotency_key text PRIMARY KEY,
            fingerprint text NOT NULL,
            reply text NOT NULL,
            created_at ${time} NOT NULL
          )`,
          `CREATE INDEX mesh_idempotency_key_created ON mesh_idempotency_key (created_at)`,
        ]) {
          await runner.query(statement);
        }
      },
      down: async (runner) => {
        for (const table of ['outbox', 'delivery', 'inbox', 'dead_letter', 'idempotency_key']) {
          await runner.query(`DROP TABLE mesh_${table}`);
        }
      },
    },
    {
      name: 'MeshDestinations1764000000000',
      up: async (runner) => {
        const { time } = types(runner);
        // Where a broker could not deliver a dead letter to, so that a replay finds its way.
        await runner.query('ALTER TABLE mesh_dead_letter ADD COLUMN destination text');
        await runner.query('CREATE INDEX mesh_dead_letter_event ON mesh_dead_letter (event_id)');
        // Modules that have moved to another database, or are on their way into this one.
        await runner.query(
          `CREATE TABLE mesh_module (name text PRIMARY KEY, state text NOT NULL, place text NOT NULL, since ${time} NOT NULL)`,
        );
      },
      down: async (runner) => {
        await runner.query('DROP TABLE mesh_module');
        await runner.query('DROP INDEX mesh_dead_letter_event');
        await runner.query('ALTER TABLE mesh_dead_letter DROP COLUMN destination');
      },
    },
    {
      name: 'MeshReconciliation1764000000000',
      up: async (runner) => {
        await runner.query(
          `CREATE TABLE mesh_reconciliation (module text PRIMARY KEY, position text, pass text NOT NULL)`,
        );
      },
      down: async (runner) => {
        await runner.query('DROP TABLE mesh_reconciliation');
      },
    },
    {
      name: 'MeshLeases1764000000001',
      up: async (runner) => {
        // A SQLite file has one process; there is nothing to share.
        if (runner.dataSource.options.type !== 'postgres') return;
        await runner.query(
          `CREATE TABLE mesh_replica (
            replica integer NOT NULL,
            part text NOT NULL,
            has_session boolean NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (replica, part)
          )`,
        );
        await runner.query(
          `CREATE TABLE mesh_lease (
            part text NOT NULL,
            shard integer NOT NULL,
            token bigint NOT NULL,
            holder integer,
            PRIMARY KEY (part, shard)
          )`,
        );
      },
      down: async (runner) => {
        await runner.query('DROP TABLE IF EXISTS mesh_lease');
        await runner.query('DROP TABLE IF EXISTS mesh_replica');
      },
    },
  ],
};

function types(runner: QueryRunner): { sequence: string; time: string } {
  return runner.dataSource.options.type === 'postgres'
    ? // Times as double precision: the driver hands bigint over as text.
      { sequence: 'bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY', time: 'double precision' }
    : { sequence: 'integer PRIMARY KEY AUTOINCREMENT', time: 'integer' };
}
