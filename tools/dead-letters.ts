import { parseArgs } from 'node:util';

const USAGE = `npm run mesh:dead-letters -- <what> [options]

  list                       what was given up, the latest first
    --by cause               counted by consumer, type and cause
    --consumer C --type T --cause T   only these
    --page N --size N
  show <id>                  one of them, with its event and error
  replay <id>                gives it back to the consumer that failed
  replay --all               gives back all, or those that --consumer, --type and --cause name
    --force                  also those from before the replay window
  discard <id>               forgets it

  --url U                    the application, http://localhost:3000 unless told (or MESH_URL)
  MESH_ADMIN_TOKEN           sent along when set`;

const filters = { consumer: { type: 'string' }, type: { type: 'string' }, cause: { type: 'string' } } as const;
const options = {
  ...filters,
  by: { type: 'string' },
  page: { type: 'string' },
  size: { type: 'string' },
  all: { type: 'boolean' },
  force: { type: 'boolean' },
  url: { type: 'string', default: process.env.MESH_URL ?? 'http://localhost:3000' },
  help: { type: 'boolean', short: 'h' },
} as const;

class Usage extends Error {}

async function call(url: string, method: string, path: string): Promise<unknown> {
  const token = process.env.MESH_ADMIN_TOKEN;
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  const response = await fetch(`${url.replace(/\/$/, '')}${path}`, { method, headers });
  const text = await response.text();
  const reply = text ? (JSON.parse(text) as { detail?: string; title?: string }) : {};
  if (!response.ok) throw new Error(`${response.status}: ${reply.detail ?? reply.title ?? text}`);
  return reply;
}

interface Letter {
  readonly id: string;
  readonly deadAt: string;
  readonly consumer: string;
  readonly type: string;
  readonly subject: string | null;
  readonly attempts: number;
  readonly error: string;
}

async function run(): Promise<void> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [what, id] = positionals;
  if (values.help || !what) throw new Usage();
  const { url } = values;
  const given = (names: readonly ('consumer' | 'type' | 'cause' | 'by' | 'page' | 'size')[]) =>
    new URLSearchParams(names.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]]))).toString();
  const one = () => {
    if (!id) throw new Usage();
    return `/mesh/dead-letters/${encodeURIComponent(id)}`;
  };
  const force = values.force ? 'force=true' : '';
  if (what === 'list') {
    const path = `/mesh/dead-letters?${given(['consumer', 'type', 'cause', 'by', 'page', 'size'])}`;
    print((await call(url, 'GET', path)) as { items?: Letter[]; causes?: object[]; total: number });
  } else if (what === 'show') {
    console.log(JSON.stringify(await call(url, 'GET', one()), undefined, 2));
  } else if (what === 'replay') {
    const path = values.all
      ? `/mesh/dead-letters/replay?${given(['consumer', 'type', 'cause'])}&${force}`
      : `${one()}/replay?${force}`;
    const { replayed } = (await call(url, 'POST', path)) as { replayed: number };
    console.log(`Replayed: ${replayed}`);
  } else if (what === 'discard') {
    await call(url, 'DELETE', one());
    console.log('Discarded.');
  } else {
    throw new Usage();
  }
}

function print({ items, causes, total }: { items?: Letter[]; causes?: object[]; total: number }): void {
  if (causes) console.table(causes);
  for (const { id, deadAt, consumer, type, subject, attempts, error } of items ?? []) {
    console.log(`${id}  ${deadAt}  ${consumer}  ${type}  ${subject ?? ''}  after ${attempts} tries`);
    console.log(`    ${error.split('\n')[0]}`);
  }
  console.log(total === 0 ? 'No dead letters.' : `${total} in all.`);
}

try {
  await run();
} catch (error) {
  const { message, code, cause } = error as Error & { code?: string; cause?: { code?: string } };
  const isMisuse = error instanceof Usage || code?.startsWith('ERR_PARSE_ARGS');
  const nobody = cause?.code === 'ECONNREFUSED' ? 'Nobody listens there: is the application running?' : message;
  console.error(isMisuse ? `${message ? `${message}\n\n` : ''}${USAGE}` : nobody);
  process.exitCode = 1;
}
