import 'reflect-metadata';
import { HISTORIES } from '../migrations/histories.js';
import { APPLICATION_NAME, MODULE_NAMES } from '../src/app.module.js';
import { loadVariables } from '../src/config-loader.js';
import { readConfig } from '../src/config.js';
import { runCommand } from './command-line.js';
import { UsageError } from './errors.js';
import { extract } from './extraction/extraction.js';
import { startCommand } from './extraction/start-command.js';

const USAGE = `npm run extract -- <module> --to <database>

  Moves a module from the database of DATABASE_URL (default: sqlite:data/cabs.db) to a database of its own: its tables,
  inbox records, deliveries, dead letters and unsent messages. Stop all processes on both databases first. After an
  interruption at any point, run the command again. docs/extraction.md describes the whole procedure.

  --to D       sqlite:<path> or postgres://user:password@host:port/database. The database is new, or has never hosted
               the module, or is the one that the module has left before (this is the way back).
  <module>     ${MODULE_NAMES.join(', ')}`;

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
      'left out here). start:prod also needs MESH_OIDC_ISSUER, MESH_OIDC_AUDIENCE and MESH_OIDC_SUBJECTS, or ' +
      'MESH_ALLOW_ANONYMOUS=true in a trusted network. Point the Triggers to the port of the mesh:',
  );
  console.log([databases.to, databases.from].map((it) => startCommand(it, MODULE_NAMES)).join('\n'));
});
