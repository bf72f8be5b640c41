import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The replicas on one PostgreSQL database, and the partitions that each holds. */
export class MeshLeases1764000000001 implements MigrationInterface {
  name = 'MeshLeases1764000000001';

  async up(runner: QueryRunner): Promise<void> {
    // A SQLite file has one process, which needs no leases.
    if (runner.connection.options.type !== 'postgres') return;
    await runner.query(`CREATE TABLE mesh_replica (
      replica integer NOT NULL,
      part text NOT NULL,
      has_session boolean NOT NULL,
      expires_at timestamptz NOT NULL,
      PRIMARY KEY (replica, part)
    )`);
    await runner.query(`CREATE TABLE mesh_lease (
      part text NOT NULL,
      shard integer NOT NULL,
      token bigint NOT NULL,
      holder integer,
      PRIMARY KEY (part, shard)
    )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE IF EXISTS mesh_lease');
    await runner.query('DROP TABLE IF EXISTS mesh_replica');
  }
}
