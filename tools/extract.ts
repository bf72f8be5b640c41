import 'reflect-metadata';
import { HISTORIES } from '../migrations/histories.js';
import { APPLICATION_NAME, MODULE_NAMES } from '../src/app.module.js';
import { loadVariables } from '../src/config-loader.js';
import { readConfig } from '../src/config.js';
import { runCommand } from './command-line.js';
import { UsageError } from './errors.js';
import { extract, type DatabaseContents } from './extraction/extraction.js';

const USAGE = `npm run extract -- <module> --to <database>

  Moves a module from the database of DATABASE_URL (default: sqlite:data/cabs.db) to a database of its own: its tables,
  inbox records, deliveries, dead letters and unsent messages. Stop all processes on both databases first. After an
  interruption at any point, run the command again. docs/extraction.md describes the whole procedure.

  --to D       sqlite:<path> or postgres://user:password@host:port/database. The database is new, or has never hosted
               the module, or is the one that the module has left before (this is the way back).
  <module>     ${MODULE_NAMES.join(', ')}`;

/** The command that starts a process for the modules of one database. */
function startCommand({ address, modules }: DatabaseContents): string {
  const hosted = MODULE_NAMES.filter((it) => modules.includes(it));
  if (hosted.length === 0) return `\n  # ${address} has no modules any more.`;
  const others = MODULE_NAMES.filter((it) => !hosted.includes(it));
  if (others.length === 0) return `\n  DATABASE_URL=${address} npm run start:prod`;
  const services = others.map((it) => `USVC_${it.toUpperCase()}=http://<address of ${it}>`);
  return [
    `\n  DATABASE_URL=${address}`,
    `MODULES=${hosted.join(',')} MESH_TRANSPORT=knative K_SINK=http://<address of the broker>`,
    ...services,
    'npm run start:prod',
  ].join(' \\\n    ');
}

const options = { to: { type: 'string' } } as const;

await runCommand({ usage: USAGE, options, allowPositionals: true }, async ({ to }, [module, ...more]) => {
  if (!module) throw new UsageError(`Missing <module>: expected one of ${MODULE_NAMES.join(', ')}.`);
  if (more.length > 0) throw new UsageError(`Unexpected argument "${more[0]}": expected one module.`);
  const history = HISTORIES.find(({ owner }) => owner === module);
  if (!history) throw new UsageError(`Unknown module "${module}": expected one of ${MODULE_NAMES.join(', ')}.`);
  if (!to) throw new UsageError('Missing --to: the new database of the module.');
  // The other variables are those of a running process; only the address of the database matters here.
  const { DATABASE_URL, DATABASE_URL_FILE } = await loadVariables();
  const { databaseUrl } = readConfig({ DATABASE_URL, DATABASE_URL_FILE }, MODULE_NAMES);
  const started = performance.now();
  const databases = await extract({
    history,
    from: databaseUrl,
    to,
    sender: `usvc://${APPLICATION_NAME}/${module}`,
    log: (line) => console.log(line),
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `\nDone in ${seconds} s. Start the processes with these variables, besides yours such as AUTH (user and password are ` +
      'left out here):',
  );
  console.log([databases.to, databases.from].map(startCommand).join('\n'));
});
