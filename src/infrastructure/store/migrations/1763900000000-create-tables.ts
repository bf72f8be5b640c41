import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The mesh's tables. Times are in ms since 1970; an `event` is a CloudEvent in JSON. */
export class MeshTables1763900000000 implements MigrationInterface {
  name = 'MeshTables1763900000000';

  async up(runner: QueryRunner): Promise<void> {
    const isPostgres = runner.connection.options.type === 'postgres';
    const sequence = isPostgres
      ? 'bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY'
      : 'integer PRIMARY KEY AUTOINCREMENT';
    // Times on PostgreSQL are double precision, because its driver returns a bigint as a string.
    const time = isPostgres ? 'double precision' : 'integer';
    await runner.query(`CREATE TABLE mesh_outbox (
      seq ${sequence},
      id text NOT NULL,
      source text NOT NULL,
      type text NOT NULL,
      partition_key text NOT NULL,
      event text NOT NULL,
      created_at ${time} NOT NULL
    )`);
    await runner.query(`CREATE TABLE mesh_delivery (
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
    )`);
    // First attempts run in order, retries when they are due: a small index for each.
    await runner.query('CREATE INDEX mesh_delivery_first ON mesh_delivery (consumer, seq) WHERE attempts = 0');
    await runner.query('CREATE INDEX mesh_delivery_retry ON mesh_delivery (consumer, due_at) WHERE attempts > 0');
    await runner.query(`CREATE TABLE mesh_inbox (
      consumer text NOT NULL,
      source text NOT NULL,
      id text NOT NULL,
      handled_at ${time} NOT NULL,
      PRIMARY KEY (consumer, source, id)
    )`);
    await runner.query('CREATE INDEX mesh_inbox_handled ON mesh_inbox (handled_at)');
    await runner.query(`CREATE TABLE mesh_dead_letter (
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
    )`);
    await runner.query('CREATE INDEX mesh_dead_letter_dead ON mesh_dead_letter (dead_at)');
    await runner.query(`CREATE TABLE mesh_idempotency_key (
      idempotency_key text PRIMARY KEY,
      fingerprint text NOT NULL,
      reply text NOT NULL,
      created_at ${time} NOT NULL
    )`);
    await runner.query('CREATE INDEX mesh_idempotency_key_created ON mesh_idempotency_key (created_at)');
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of ['outbox', 'delivery', 'inbox', 'dead_letter', 'idempotency_key']) {
      await runner.query(`DROP TABLE mesh_${table}`);
    }
  }
}
