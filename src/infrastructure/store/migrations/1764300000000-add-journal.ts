import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What became of each message, for as long as the journal is kept. */
export class MeshJournal1764300000000 implements MigrationInterface {
  name = 'MeshJournal1764300000000';

  async up(runner: QueryRunner): Promise<void> {
    const isPostgres = runner.connection.options.type === 'postgres';
    const sequence = isPostgres ? 'bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY' : 'integer PRIMARY KEY';
    const time = isPostgres ? 'double precision' : 'integer';
    await runner.query(`CREATE TABLE mesh_journal (
      seq ${sequence},
      id text NOT NULL,
      source text NOT NULL,
      type text NOT NULL,
      subject text,
      consumer text NOT NULL,
      causation_id text,
      correlation_id text NOT NULL,
      created_at ${time} NOT NULL,
      handled_at ${time} NOT NULL,
      attempts integer NOT NULL,
      outcome text NOT NULL
    )`);
    await runner.query('CREATE INDEX mesh_journal_handled ON mesh_journal (handled_at)');
    await runner.query('CREATE INDEX mesh_journal_type ON mesh_journal (type, handled_at)');
    await runner.query('CREATE INDEX mesh_journal_subject ON mesh_journal (subject, handled_at)');
    await runner.query('CREATE INDEX mesh_journal_correlation ON mesh_journal (correlation_id, handled_at)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE mesh_journal');
  }
}
