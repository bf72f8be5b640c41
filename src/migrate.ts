import 'reflect-metadata';
import { parseArgs } from 'node:util';
import { HISTORIES } from '../migrations/histories.js';
import { hostedBy, MODULE_NAMES, MODULES } from './app.module.js';
import { loadConfig } from './config-loader.js';
import { errorMessage } from './infrastructure/observability/error-message.js';
import { runMigrationCommand, type MigrationCommand } from './infrastructure/persistence/migration-commands.js';
import { assertHistoriesComplete, migrationHistories } from './infrastructure/store/migration-histories.js';

const USAGE = `npm run migrate [-- --status | --sql | --help]

  Applies the missing migrations to the database of DATABASE_URL: those of the mesh, and those of the modules in
  MODULES. Several processes may do this at the same time.

  --status   Lists the missing migrations of each owner, and applies none. Exits with 1 when one is missing.
  --sql      Prints the SQL that would run, and runs none of it.
  --help     Prints this text.`;

const options = {
  status: { type: 'boolean' },
  sql: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

function parseCommand(): MigrationCommand | 'help' {
  const { values } = parseArgs({ options });
  const [command = 'migrate', ...more] = (['help', 'status', 'sql'] as const).filter((it) => values[it]);
  if (more.length > 0) throw new Error(`Give one of --${[command, ...more].join(' and --')}`);
  return command;
}

async function run(command: MigrationCommand): Promise<void> {
  const { config } = await loadConfig(MODULE_NAMES, { purpose: 'migrate' });
  assertHistoriesComplete(MODULES, HISTORIES);
  const histories = migrationHistories(hostedBy(config), HISTORIES);
  if (!(await runMigrationCommand(command, { url: config.databaseUrl }, histories))) process.exitCode = 1;
}

let command: ReturnType<typeof parseCommand> | undefined;
try {
  command = parseCommand();
} catch (error) {
  console.error(`${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = 2;
}
if (command === 'help') {
  console.log(USAGE);
} else if (command) {
  await run(command).catch((error: unknown) => {
    console.error(errorMessage(error) || String(error));
    process.exitCode = 1;
  });
}
