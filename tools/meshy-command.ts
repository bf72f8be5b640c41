import type { MigrationCommand } from '../src/infrastructure/persistence/migration-commands.js';
import type { BrokerDefaults } from './broker-command.js';
import type { Call } from './command-line.js';

/* The command line of the package. Each command loads what it needs: only some need a driver of a database, or undici. */

type Command = (call: Call, defaults: BrokerDefaults) => Promise<void>;

const migrations = (command: MigrationCommand) => async (call: Call) =>
  (await import('./migration-commands.js')).migrations(command, call);

const COMMANDS: Readonly<Record<string, { readonly does: string; readonly run: Command }>> = {
  migrate: { does: 'applies missing migrations', run: migrations('migrate') },
  status: { does: 'lists missing migrations', run: migrations('status') },
  sql: { does: 'prints the SQL of missing migrations', run: migrations('sql') },
  'dead-letters': {
    does: 'lists, shows, replays and discards dead letters',
    run: async (call) => (await import('./dead-letters.js')).deadLetters(call),
  },
  reconcile: {
    does: 'starts the reconcile loops, and prints what they find',
    run: async (call) => (await import('./reconcile.js')).reconcile(call),
  },
  broker: {
    does: 'starts a small Knative Broker for a laptop',
    run: async (call, defaults) => (await import('./broker-command.js')).broker(call, defaults),
  },
  manifests: {
    does: 'generates a Broker, Triggers and SinkBindings',
    run: async (call) => (await import('./manifests-command.js')).manifests(call),
  },
};

const USAGE = `meshy <command> [options]

${Object.entries(COMMANDS)
  .map(([name, { does }]) => `  ${name.padEnd(14)}${does}`)
  .join('\n')}

  meshy <command> --help tells the options of a command.`;

/** Runs `meshy <command> [options]`. The exit code is 2 for wrong arguments, and 1 for any other error. */
export async function meshy(
  [name, ...args]: readonly string[],
  defaults: BrokerDefaults = { manifests: 'deploy/knative', services: {}, database: 'sqlite:meshy-broker.db' },
): Promise<void> {
  const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command) return command.run({ program: programOf(name!), args }, defaults);
  if (name === '--help' || name === '-h') return console.log(USAGE);
  console.error(`${name === undefined ? 'Missing command' : `Unknown command "${name}"`}\n\n${USAGE}`);
  process.exitCode = 2;
}

/** The command as the user has typed it: perhaps by a script of package.json. */
function programOf(command: string): string {
  const { npm_lifecycle_event: script, npm_lifecycle_script: text } = process.env;
  const isScript = text !== undefined && new RegExp(`\\bmeshy(\\.ts)? ${command}\\b`).test(text);
  return isScript && script !== 'npx' ? `npm run ${script} --` : `npx meshy ${command}`;
}
