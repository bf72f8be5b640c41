import { formatRequestError, print, runCommand, urlsOf, type Call } from './command-line.js';
import { deadLetterArguments } from './dead-letter-arguments.js';

const usage = (program: string) => `${program} <command> [options]

  list                       lists dead letters, the latest first
    --consumer C --type T --cause T   only these
    --page N --size N
    --by cause               counts them by consumer, type and cause, without pages
  show <id>                  prints one dead letter with its event and error
  replay <id>                requeues it for the consumer that failed
  replay --all               requeues all, or those selected by --consumer, --type and --cause; lists what it skipped
    --force                  also those that are older than the replay window
  discard <id>               deletes it

  --url U                    a process that keeps dead letters; default: MESH_URL (a list with commas), else
                             http://localhost:3000 or the port of PORT. Repeat it to combine several processes. In
                             production it is the address of MESH_PORT.

  The token of the environment variable MESH_ADMIN_TOKEN is sent along when set.`;

const options = {
  consumer: { type: 'string' },
  type: { type: 'string' },
  cause: { type: 'string' },
  by: { type: 'string' },
  page: { type: 'string' },
  size: { type: 'string' },
  all: { type: 'boolean' },
  force: { type: 'boolean' },
  url: { type: 'string', multiple: true },
} as const;

async function call(url: string, method: string, path: string): Promise<unknown> {
  const token = process.env.MESH_ADMIN_TOKEN;
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  const response = await fetch(`${url}${path}`, { method, headers });
  const text = await response.text();
  const reply = text ? (JSON.parse(text) as { detail?: string; title?: string }) : {};
  if (!response.ok) throw new Error(`${response.status}: ${reply.detail ?? reply.title ?? text}`);
  return reply;
}

/** Tries one process after another until one has the dead letter. @throws Error of the last one when none has it */
async function callOwner(urls: readonly string[], method: string, path: string): Promise<unknown> {
  for (const url of urls.slice(0, -1)) {
    try {
      return await call(url, method, path);
    } catch (error) {
      if (!(error as Error).message.startsWith('404')) throw error;
    }
  }
  return call(urls.at(-1)!, method, path);
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

interface Replayed {
  readonly replayed: number;
  /** Absent in the answer of the laptop broker, and for one dead letter. */
  readonly skipped?: { readonly reason: string; readonly count: number; readonly ids: string[] }[];
  /** What processes behind a gateway answered that replayed nothing. */
  readonly processes?: Record<string, string>;
}

interface Listing {
  readonly items?: Letter[];
  readonly causes?: object[];
  readonly total: number;
}

function printListings(listings: readonly Listing[]): void {
  const causes = listings.flatMap((it) => it.causes ?? []);
  // It escapes control characters itself.
  if (causes.length > 0) console.table(causes);
  const letters = listings.flatMap(({ items = [] }) => items).sort((a, b) => (a.deadAt > b.deadAt ? -1 : 1));
  for (const { id, deadAt, consumer, type, subject, attempts, error } of letters) {
    const tries = attempts > 0 ? `after ${attempts} tries` : 'given up by the broker';
    print(`${id}  ${deadAt}  ${consumer}  ${type}  ${subject ?? ''}  ${tries}`, `    ${error.split('\n')[0]}`);
  }
  const total = listings.reduce((sum, it) => sum + it.total, 0);
  print(total === 0 ? 'No dead letters.' : `${total} in all.`);
}

/** `meshy dead-letters` */
export function deadLetters({ program, args }: Call): Promise<void> {
  return runCommand(
    { usage: usage(program), options, allowPositionals: true, formatError: formatRequestError },
    async (values, positionals) => {
      const { command, id } = deadLetterArguments(values, positionals);
      const urls = urlsOf(values.url, 'MESH_URL');
      const callAll = (method: string, path: string) => Promise.all(urls.map((url) => call(url, method, path)));
      const query = (...names: readonly ('consumer' | 'type' | 'cause' | 'by' | 'page' | 'size')[]) =>
        new URLSearchParams(
          names.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])),
        ).toString();
      const letter = `/mesh/dead-letters/${id}`;
      const force = values.force ? 'force=true' : '';
      if (command === 'list') {
        const path = `/mesh/dead-letters?${query('consumer', 'type', 'cause', 'by', 'page', 'size')}`;
        printListings((await callAll('GET', path)) as Listing[]);
      } else if (command === 'show') {
        print(...JSON.stringify(await callOwner(urls, 'GET', letter), undefined, 2).split('\n'));
      } else if (command === 'replay') {
        const answers = (
          values.all
            ? await callAll('POST', `/mesh/dead-letters/replay?${query('consumer', 'type', 'cause')}&${force}`)
            : [await callOwner(urls, 'POST', `${letter}/replay?${force}`)]
        ) as Replayed[];
        print(`Replayed: ${answers.reduce((sum, { replayed }) => sum + replayed, 0)}`);
        for (const { reason, count, ids } of answers.flatMap((it) => it.skipped ?? [])) {
          const shown = count > ids.length ? [...ids, '…'] : ids;
          print(`Skipped: ${count}. ${reason}`, ...shown.map((it) => `    ${it}`));
        }
        const failed = Object.entries(
          Object.assign({}, ...answers.map((it) => it.processes)) as Record<string, string>,
        );
        for (const [process, why] of failed) print(`Not replayed in ${process}: ${why}`);
      } else {
        await callOwner(urls, 'DELETE', letter);
        print('Discarded.');
      }
    },
    args,
  );
}
