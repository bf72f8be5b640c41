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

  --url U                    a process that keeps some, http://localhost:3000 unless told (or MESH_URL, a list);
                             repeatable: those of all of them are shown as if one had kept them
  MESH_ADMIN_TOKEN           sent along when set`;

const filters = { consumer: { type: 'string' }, type: { type: 'string' }, cause: { type: 'string' } } as const;
const options = {
  ...filters,
  by: { type: 'string' },
  page: { type: 'string' },
  size: { type: 'string' },
  all: { type: 'boolean' },
  force: { type: 'boolean' },
  url: { type: 'string', multiple: true, default: (process.env.MESH_URL ?? 'http://localhost:3000').split(',') },
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

/** Asks one process after the other for what only one of them has. @throws Error of the last when nobody has it */
async function callKeeper(urls: readonly string[], method: string, path: string): Promise<unknown> {
  for (const [index, url] of urls.entries()) {
    try {
      return await call(url, method, path);
    } catch (error) {
      const isElsewhere = (error as Error).message.startsWith('404');
      if (!isElsewhere || index === urls.length - 1) throw error;
    }
  }
  throw new Usage();
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

interface Listing {
  readonly items?: Letter[];
  readonly causes?: object[];
  readonly total: number;
}

async function run(): Promise<void> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [what, id] = positionals;
  if (values.help || !what) throw new Usage();
  const urls = values.url;
  const callAll = (method: string, path: string) => Promise.all(urls.map((url) => call(url, method, path)));
  const given = (names: readonly ('consumer' | 'type' | 'cause' | 'by' | 'page' | 'size')[]) =>
    new URLSearchParams(names.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]]))).toString();
  const one = () => {
    if (!id) throw new Usage();
    return `/mesh/dead-letters/${encodeURIComponent(id)}`;
  };
  const force = values.force ? 'force=true' : '';
  if (what === 'list') {
    const path = `/mesh/dead-letters?${given(['consumer', 'type', 'cause', 'by', 'page', 'size'])}`;
    print((await callAll('GET', path)) as Listing[]);
  } else if (what === 'show') {
    console.log(JSON.stringify(await callKeeper(urls, 'GET', one()), undefined, 2));
  } else if (what === 'replay') {
    const answers = (
      values.all
        ? await callAll('POST', `/mesh/dead-letters/replay?${given(['consumer', 'type', 'cause'])}&${force}`)
        : [await callKeeper(urls, 'POST', `${one()}/replay?${force}`)]
    ) as { replayed: number }[];
    console.log(`Replayed: ${answers.reduce((sum, { replayed }) => sum + replayed, 0)}`);
  } else if (what === 'discard') {
    await callKeeper(urls, 'DELETE', one());
    console.log('Discarded.');
  } else {
    throw new Usage();
  }
}

function print(listings: readonly Listing[]): void {
  const causes = listings.flatMap((it) => it.causes ?? []);
  if (causes.length > 0) console.table(causes);
  const letters = listings.flatMap(({ items = [] }) => items);
  for (const { id, deadAt, consumer, type, subject, attempts, error } of letters.sort((a, b) =>
    a.deadAt > b.deadAt ? -1 : 1,
  )) {
    const tries = attempts > 0 ? `after ${attempts} tries` : 'given up by the broker';
    console.log(`${id}  ${deadAt}  ${consumer}  ${type}  ${subject ?? ''}  ${tries}`);
    console.log(`    ${error.split('\n')[0]}`);
  }
  const total = listings.reduce((sum, it) => sum + it.total, 0);
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
