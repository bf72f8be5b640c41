import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { freePort } from '../../tools/ports.js';
import { ROOT } from '../../tools/source.js';
import { itThorough } from '../support/thorough.js';

/* --help and wrong arguments, for all commands of tools/, faults/ and bench/. */

const TSX = ['--import', 'tsx'];
const APP = ['--app', 'dist/src/app.module.js'];
/** Compiles decorators with their types, which tsx doesn't. */
const SWC = ['--import', './workshop/runner/typescript.mjs'];

const COMMANDS: readonly [usage: string, nodeArgs: string[]][] = [
  ['npx meshy broker', [...TSX, 'tools/meshy.ts', 'broker']],
  ['npx meshy dead-letters', [...TSX, 'tools/meshy.ts', 'dead-letters']],
  ['npm run mesh:up', [...TSX, 'tools/mesh-up.ts']],
  ['npx tsx tools/gateway.ts', [...TSX, 'tools/gateway.ts']],
  ['npm run manifests', [...TSX, 'tools/manifests.ts']],
  ['npm run docs', [...TSX, 'tools/modules-doc.ts']],
  ['npx meshy reconcile', [...TSX, 'tools/meshy.ts', 'reconcile']],
  ['npx meshy migrate', [...TSX, 'tools/meshy.ts', 'migrate']],
  ['npx meshy status', [...TSX, 'tools/meshy.ts', 'status']],
  ['npx meshy sql', [...TSX, 'tools/meshy.ts', 'sql']],
  ['npx meshy manifests', [...TSX, 'tools/meshy.ts', 'manifests']],
  ['npm run package', [...TSX, 'package/build.ts']],
  ['npm run extract', [...TSX, 'tools/extract.ts']],
  ['npm run demo', [...TSX, 'tools/demo.ts']],
  ['npm run faults', [...SWC, 'faults/faults.ts']],
  ['npm run bench', [...SWC, 'bench/bench.ts']],
];

interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(nodeArgs: readonly string[], ...args: string[]): Promise<CommandResult> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(process.execPath, [...nodeArgs, ...args], { cwd: ROOT, env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe.each(COMMANDS)('%s', (usage, nodeArgs) => {
  it('prints its usage for --help, and exits with 0', async () => {
    const { code, stdout, stderr } = await run(nodeArgs, '--help');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.startsWith(usage)).toBe(true);
  });

  // All commands read their options by runCommand().
  const itOnce = usage === 'npx meshy broker' ? it : itThorough;
  itOnce('prints one line and its usage for an unknown option, and exits with 2', async () => {
    const { code, stdout, stderr } = await run(nodeArgs, '--no-such-option');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    const [message, blank, firstLineOfUsage] = stderr.split('\n');
    expect([message, blank]).toEqual(["Unknown option '--no-such-option'", '']);
    expect(firstLineOfUsage!.startsWith(usage)).toBe(true);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

it.each<[string, string[], string]>([
  ['tools/meshy.ts broker', ['--port', 'x'], 'Invalid --port "x": expected a port number from 0 to 65535.'],
  ['tools/meshy.ts broker', ['--service', 'shop'], 'Invalid --service "shop": expected NAME=URL.'],
  ['tools/meshy.ts broker', ['--channel', 'kafka'], 'Invalid --channel "kafka": expected synchronous or asynchronous.'],
  ['tools/mesh-up.ts', ['--channel', ''], 'Invalid --channel "": expected synchronous or asynchronous.'],
  ['tools/mesh-up.ts', ['--broker-port', '70000'], 'Invalid --broker-port "70000": expected a port number from 0 to'],
  ['tools/gateway.ts', ['--module', 'rides=x'], 'Invalid --module "rides=x": expected NAME=URL.'],
  ['tools/gateway.ts', ['--mesh', 'ridez=http://x'], 'Unknown --mesh ridez: expected one of '],
  ['tools/gateway.ts', ['--port', '0'], 'Missing --module rides=URL: the address of rides.'],
  ['tools/demo.ts', ['--url', 'localhost'], 'Invalid --url "localhost": expected an absolute URL such as '],
  ['tools/extract.ts', [], 'Missing <module>: expected one of '],
  ['tools/extract.ts', ['drivers', 'rides', '--to', 'x'], 'Unexpected argument "rides": expected one module.'],
  ['tools/manifests.ts', ['a', 'b'], 'Unexpected argument "b": expected one folder.'],
  ['tools/meshy.ts broker', ['now'], "Unexpected argument 'now'"],
  [
    'tools/meshy.ts broker',
    ['--service', 'a=http://a', '--service', 'a=http://b'],
    'Repeated --service a: expected one URL',
  ],
  ['tools/demo.ts', ['now'], "Unexpected argument 'now'"],
  ['tools/extract.ts', ['drivers'], 'Missing --to: the new database of the module.'],
  ['tools/extract.ts', ['drivers', '--to', 'a', '--to=b'], 'Repeated option --to: expected one value.'],
  ['tools/meshy.ts dead-letters', [], 'Missing command: expected list, show, replay or discard.'],
  ['tools/meshy.ts dead-letters', ['bury'], 'Unknown command "bury": expected list, show, replay or discard.'],
  ['tools/meshy.ts dead-letters', ['show'], 'Missing <id>: which dead letter to show?'],
  ['tools/meshy.ts dead-letters', ['discard', 'A', 'B'], 'Unexpected argument "B": discard <id> takes one id.'],
  ['tools/meshy.ts dead-letters', ['replay', 'A', '--all'], 'Unexpected argument "A": replay --all takes no id.'],
  ['tools/meshy.ts reconcile', ['now'], "Unexpected argument 'now'"],
  ['tools/meshy.ts', [], 'Missing command'],
  ['tools/meshy.ts', ['constructor'], 'Unknown command "constructor"'],
  ['tools/meshy.ts migrate', [], 'Missing --database: there is no environment variable DATABASE_URL either.'],
  ['tools/meshy.ts sql', ['--database', 'mysql://x'], 'Invalid --database: expected sqlite:PATH or postgres://….'],
  ['tools/meshy.ts status', ['--database', 'sqlite:x', '--schema', 's'], 'Unexpected option --schema: SQLite has no'],
  [
    'tools/meshy.ts status',
    ['--database', 'sqlite:x', '--app', 'x.js'],
    'Invalid --app "x.js": there is no such file.',
  ],
  [
    'tools/meshy.ts status',
    ['--database', 'sqlite:x', '--app', 'dist/src/config.js'],
    'Invalid --app dist/src/config.js: no',
  ],
  ['tools/meshy.ts manifests', [...APP, 'a', 'b'], 'Unexpected argument "b": expected one folder.'],
  ['tools/meshy.ts manifests', [...APP], 'Missing --service: which Knative Service hosts clients?'],
  [
    'tools/meshy.ts manifests',
    [...APP, '--service', 'ridez=x'],
    'Invalid --service "ridez=x": the modules are clients, ',
  ],
  ['tools/meshy.ts manifests', [...APP, '--service', 'a', '--service', 'b'], 'Repeated --service b.'],
])('%s refuses %j', async (file, args, message) => {
  const { code, stderr } = await run([...TSX, ...file.split(' ')], ...args);
  expect(code).toBe(2);
  expect(stderr.split('\n')[0]!.startsWith(message)).toBe(true);
});

it.each(['tools/demo.ts', 'tools/meshy.ts dead-letters', 'tools/meshy.ts reconcile'])(
  '%s says when no process listens, and exits with 1',
  async (file) => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const args = file.includes('dead-letters') ? ['list'] : [];
    const { code, stderr } = await run([...TSX, ...file.split(' ')], ...args, '--url', url);
    expect(code).toBe(1);
    expect(stderr.trim()).toBe(`Connection refused: no process listens on port ${port}. Is the application running?`);
  },
);

describe('An answer with control characters', () => {
  const EVIL = 'a\x1b[2J\x9b2J\x7f\nb';
  const letter = { id: EVIL, deadAt: EVIL, consumer: EVIL, type: EVIL, subject: EVIL, attempts: 1, error: EVIL };
  const skipped = [{ reason: EVIL, count: 2, ids: [EVIL] }];
  const times = { minAgeMs: 60_000, startedAt: '1', finishedAt: '2' };
  const reported = {
    module: EVIL,
    examined: 1,
    skipped: 1,
    missing: { [EVIL]: 1 },
    sent: 1,
    interrupted: EVIL,
    ...times,
  };
  const transit = { status: 'COMPLETED', settlement: { [EVIL]: EVIL }, tariff: { name: EVIL }, distanceKm: EVIL };
  const answers: Record<string, unknown> = {
    '/mesh/dead-letters': { items: [letter], causes: [{ cause: EVIL }], total: 1 },
    '/mesh/dead-letters/1': letter,
    '/mesh/dead-letters/replay': { replayed: 0, skipped, processes: { [EVIL]: EVIL } },
    '/mesh/reconciliations': { items: [reported] },
    '/mesh/reconciliations/run': { items: [reported] },
    '/invoices': [{ amount: 100, subjectName: EVIL }],
  };
  let isRefusing = false;
  const server = createServer(({ url }, response) => {
    response.statusCode = isRefusing ? 500 : 200;
    const answer = answers[url!.split('?')[0]!] ?? { ...transit, id: EVIL, balance: EVIL };
    response.end(JSON.stringify(isRefusing ? { detail: EVIL } : answer));
  });
  beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'));
  afterAll(() => void server.close());

  it.each([
    ['tools/meshy.ts dead-letters', 'list'],
    ['tools/meshy.ts dead-letters', 'show', '1'],
    ['tools/meshy.ts dead-letters', 'replay', '--all'],
    ['tools/meshy.ts reconcile'],
    ['tools/demo.ts'],
  ])('is printed without them: %s', async (file, ...args) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    isRefusing = false;
    const { stdout, stderr } = await run([...TSX, ...file.split(' ')], ...args, '--url', url);
    expect(stderr).toBe('');
    expect(stdout).toContain('\ufffd2J');
    expect(stdout).not.toMatch(/[^\P{Cc}\n]/u);
    isRefusing = true;
    const refused = await run([...TSX, ...file.split(' ')], ...args, '--url', url);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('\ufffd2J') });
    expect(refused.stdout + refused.stderr).not.toMatch(/[^\P{Cc}\n]/u);
  });
});
