import type { Cabs } from './cabs.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { write } from './database-contents.js';

/*
 * Loses messages as a broker does that has accepted them: a trigger deletes their deliveries, in the transaction that writes
 * them. Each message of the application has one consumer.
 */

/** The n-th message of a type (from 1) about one transit. */
export interface Loss {
  readonly type: string;
  readonly n: number;
}

const TABLES = [
  'CREATE TABLE sent_message (subject text, type text)',
  // `correlation_id` of the request for the transit names the transit until its first message.
  'CREATE TABLE planned_loss (correlation_id text, subject text, type text, n integer)',
];

const triggerStatements = (field: (name: string) => string) => `
  INSERT INTO sent_message VALUES (${field('subject')}, NEW.type);
  UPDATE planned_loss SET subject = ${field('subject')}
    WHERE subject IS NULL AND correlation_id = ${field('correlationid')};
  UPDATE planned_loss SET n = n - 1 WHERE subject = ${field('subject')} AND type = NEW.type;
  DELETE FROM mesh_delivery WHERE seq = NEW.seq AND EXISTS (
    SELECT 1 FROM planned_loss WHERE subject = ${field('subject')} AND type = NEW.type AND n = 0
  );`;

/** Prepares a database of the application for `planLosses()`. */
export async function installLosses(database: string): Promise<void> {
  if (database.startsWith('sqlite:')) {
    const statements = triggerStatements((name) => `json_extract(NEW.event, '$.${name}')`);
    await write(
      database,
      ...TABLES,
      `CREATE TRIGGER lose_message AFTER INSERT ON mesh_delivery BEGIN ${statements} END`,
    );
    return;
  }
  const statements = triggerStatements((name) => `(NEW.event::json ->> '${name}')`);
  await write(
    database,
    ...TABLES,
    `CREATE FUNCTION lose_message() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${statements} RETURN NULL; END $$`,
    'CREATE TRIGGER lose_message AFTER INSERT ON mesh_delivery FOR EACH ROW EXECUTE FUNCTION lose_message()',
  );
}

/** Loses messages about the transit that a request with this correlation id creates. */
export async function planLosses({ app }: Cabs, correlationId: string, losses: readonly Loss[]): Promise<void> {
  const work = app.get(UnitOfWork);
  await work.run(async () => {
    for (const { type, n } of losses) {
      const values = [correlationId, type, n];
      await work.sql.run('INSERT INTO planned_loss (correlation_id, type, n) VALUES ($1, $2, $3)', values);
    }
  });
}

/** The types of the messages that were lost. */
export async function lostTypes({ app }: Cabs): Promise<Set<string>> {
  const rows = await app
    .get(UnitOfWork)
    .sql.all<{ type: string }>('SELECT DISTINCT type FROM planned_loss WHERE n <= 0');
  return new Set(rows.map(({ type }) => type));
}

/** All messages about a transit so far, as losses. */
export async function lossesOf({ app }: Cabs, transit: string): Promise<Loss[]> {
  const rows = await app
    .get(UnitOfWork)
    .sql.all<{ type: string; n: number | string }>(
      'SELECT type, COUNT(*) AS n FROM sent_message WHERE subject = $1 GROUP BY type ORDER BY type',
      [transit],
    );
  return rows.flatMap(({ type, n: count }) =>
    Array.from({ length: Number(count) }, (_, index) => ({ type, n: index + 1 })),
  );
}
