import 'reflect-metadata';
import { parseArgs } from 'node:util';
import { APPLICATION_NAME, MODULE_NAMES, MODULES } from '../src/app.module.js';
import { readConfig } from '../src/config.js';
import { migrationHistories } from '../src/infrastructure/mesh.module.js';
import { extract, type Household } from './extraction/extraction.js';

const USAGE = `npm run extract -- <module> --to <database>

  Moves a module out of the database of DATABASE_URL (sqlite:data/cabs.db unless told), and into one of its own: its
  tables, what it has handled, what waits for it, what was given up, what it hasn't sent yet. Every process on either
  database has to be stopped. Interrupted, wherever: run it again. docs/extraction.md tells the whole way.

  --to D                     sqlite:<path> or postgres://user:password@host:port/database; made empty, or never used for
                             this module, or the one that it has left before: this is also the way back
  one of                     ${MODULE_NAMES.join(', ')}`;

const options = { to: { type: 'string' }, help: { type: 'boolean', short: 'h' } } as const;

class Usage extends Error {}

async function run(): Promise<void> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [module, ...more] = positionals;
  const { to } = values;
  if (values.help || !module || !to || more.length > 0) throw new Usage();
  const history = migrationHistories(MODULES).find(({ owner }) => owner === module && owner !== 'mesh');
  if (!history) throw new Error(`There is no module ${module}; there are ${MODULE_NAMES.join(', ')}`);
  // Only where the database is; the rest of the environment belongs to a process that runs.
  const { databaseUrl } = readConfig({ DATABASE_URL: process.env.DATABASE_URL }, MODULE_NAMES);
  const started = performance.now();
  const homes = await extract({
    history,
    from: databaseUrl,
    to,
    sender: `usvc://${APPLICATION_NAME}/${module}`,
    say: (line) => console.log(line),
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`\nDone in ${seconds} s. Start with these and what else you set (user and password are left out here):`);
  console.log([homes.to, homes.from].map(startCommand).join('\n'));
}

/** How a process for the modules of one database is started. */
function startCommand({ address, modules }: Household): string {
  const hosted = MODULE_NAMES.filter((it) => modules.includes(it));
  if (hosted.length === 0) return `\n  # Nobody lives in ${address} any more.`;
  const others = MODULE_NAMES.filter((it) => !hosted.includes(it));
  if (others.length === 0) return `\n  DATABASE_URL=${address} npm run start:prod`;
  const services = others.map((it) => `USVC_${it.toUpperCase()}=http://<where ${it} listens>`);
  return [
    `\n  DATABASE_URL=${address}`,
    `MODULES=${hosted.join(',')} MESH_TRANSPORT=knative K_SINK=http://<the broker>`,
    ...services,
    'npm run start:prod',
  ].join(' \\\n    ');
}

try {
  await run();
} catch (error) {
  const { message, code, errors } = error as Error & { code?: string; errors?: Error[] };
  const isMisuse = error instanceof Usage || code?.startsWith('ERR_PARSE_ARGS');
  // A server that isn't there is one error for each of its addresses, under an empty one.
  const told = message || errors?.[0]?.message || String(error);
  console.error(isMisuse ? `${message ? `${message}\n\n` : ''}${USAGE}` : told);
  process.exitCode = 1;
}
