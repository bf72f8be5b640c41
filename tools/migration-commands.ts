import { runMigrationCommand, type MigrationCommand } from '../src/infrastructure/persistence/migration-commands.js';
import { assertOwners, migrationHistories } from '../src/infrastructure/store/migration-histories.js';
import { runCommand, type Call } from './command-line.js';
import { UsageError } from './errors.js';
import { APP_OPTION, APP_USAGE, readApplication } from './host-modules.js';

const DOES: Readonly<Record<MigrationCommand, string>> = {
  migrate: `Applies the missing migrations: those of the mesh, and those of the application's modules. Several processes may
  do this at the same time.`,
  status: 'Lists the missing migrations of each owner, and applies none. Exits with 1 when one is missing.',
  sql: 'Prints the SQL of the missing migrations, and runs none of it.',
};

const usage = (program: string, command: MigrationCommand) => `${program} [options]

  ${DOES[command]}

  --database U   sqlite:PATH or postgres://…; default: the environment variable DATABASE_URL
  --schema S     on PostgreSQL, the schema of the tables, as the data source of the application has it
${APP_USAGE}`;

const options = { ...APP_OPTION, database: { type: 'string' }, schema: { type: 'string' } } as const;

/** `meshy migrate`, `meshy status` and `meshy sql` */
export function migrations(command: MigrationCommand, { program, args }: Call): Promise<void> {
  return runCommand(
    { usage: usage(program, command), options },
    async ({ app, database, schema }) => {
      const url = database ?? process.env.DATABASE_URL;
      if (!url) throw new UsageError('Missing --database: there is no environment variable DATABASE_URL either.');
      if (!/^(sqlite:.|postgres(ql)?:\/\/)/.test(url))
        throw new UsageError('Invalid --database: expected sqlite:PATH or postgres://….');
      if (schema !== undefined && url.startsWith('sqlite:'))
        throw new UsageError('Unexpected option --schema: SQLite has no schemas.');
      const { modules, histories } = await readApplication(app);
      assertOwners(modules, histories);
      const isComplete = await runMigrationCommand(command, { url, schema }, migrationHistories(modules, histories));
      if (!isComplete) process.exitCode = 1;
    },
    args,
  );
}
