import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { extract } from '../../tools/extraction/extraction.js';
import { startCabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import {
  calculateFee,
  populate,
  historyOf,
  KNATIVE,
  move,
  OTHERS,
  PAIRS,
  read,
  run,
  write,
} from '../support/database-contents.js';
import { startServer } from '../support/server.js';
import { ONE_DATABASE } from '../support/thorough.js';

describe.each(ONE_DATABASE)('The command line of the extraction on $kind', ({ fresh }) => {
  const tool = (from: string, ...args: string[]) => run('tools/extract.ts', args, { DATABASE_URL: from });

  it('refuses an unknown module, and a database that a server uses, also an idle server', async () => {
    const [from, to] = [await fresh(), await fresh()];
    expect(await tool(from, 'trains', '--to', to)).toMatchObject({
      code: 2,
      errors: expect.stringMatching(/^Unknown module "trains": expected one of .*\n\nnpm run extract/),
    });
    const server = await startServer({ DATABASE_URL: from });
    expect(await tool(from, 'drivers', '--to', to)).toMatchObject({
      code: 1,
      output: '',
      errors: expect.stringMatching(/^\S+ is in use by another process: stop it first\n$/),
    });
    expect(await server.end('SIGTERM')).toBe(0);
    const other = await startServer({ DATABASE_URL: to, ...KNATIVE, MODULES: 'rides' });
    await expect(move(from, to)).rejects.toThrow('is in use by another process: stop it first');
    await other.end('SIGTERM');
    const { code, output } = await tool(from, 'drivers', '--to', to);
    expect(code).toBe(0);
    expect(output).toContain('or MESH_ALLOW_ANONYMOUS=true');
    expect(output).toContain('MODULES=rides,drivers PORT=');
    expect(output).toContain(`MODULES=${OTHERS} PORT=`);
  }, 90_000);

  it('keeps a server from starting during an extraction', async () => {
    const [from, to] = [await fresh(), await fresh()];
    await populate(from);
    let starting: Promise<string> | undefined;
    await extract({
      from,
      to,
      history: historyOf('drivers'),
      sender: 'usvc://cabs/drivers',
      onPoint: () => {
        starting ??= startCabs(from).then((cabs) => cabs.close().then(() => 'started'), String);
      },
    });
    expect(await starting).toMatch(/has moved to|locked|timeout/);
    expect(await read(to, 'SELECT * FROM mesh_module')).toEqual([]);
  });
});

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

(postgres ? it : it.skip)('The extraction waits for the connection of a stopped process to end', async () => {
  const [from, to] = [await postgres!.fresh(), await postgres!.fresh()];
  await populate(from);
  const leaving = new pg.Client({ connectionString: from, application_name: 'mesh' });
  await leaving.connect();
  const left = wait(500).then(() => leaving.end());
  await move(from, to);
  await left;
  expect(await read(to, 'SELECT 1 FROM drivers_driver LIMIT 1')).toHaveLength(1);
});

// Between different kinds of databases values are converted, if PostgreSQL is installed.
const CONVERTED = PAIRS.filter(({ source, target }) => source.kind !== target.kind);

describe.each(CONVERTED.length > 0 ? CONVERTED : PAIRS)(
  'The extraction of a large module from $from to $to',
  ({ source, target }) => {
    it('needs less memory than the size of its rows', async () => {
      const [from, to] = [await source.fresh(), await target.fresh()];
      await populate(from);
      const numbers = (last: number) =>
        source.kind === 'sqlite'
          ? `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${last})`
          : `WITH numbers AS (SELECT generate_series(1, ${last}) AS n)`;
      const event = JSON.stringify({ ...calculateFee('big', 'i'), note: 'x'.repeat(25_000) });
      await write(
        from,
        `INSERT INTO mesh_inbox (consumer, source, id, handled_at) ${numbers(100_000)}
       SELECT 'drivers', 'usvc://cabs/rides', '01932f3c-0000-7000-8000-0000000' || n, n FROM numbers`,
        `INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at) ${numbers(3000)}
       SELECT 'drivers', 'd' || n, 't', 'k', '${event}', n, n FROM numbers`,
      );
      const args = [JSON.stringify({ module: 'drivers', from, to })];
      const { code, output, errors } = await run('test/support/extraction-child.ts', args, {}, [
        '--max-old-space-size=90',
      ]);
      expect({ code, errors }).toEqual({ code: 0, errors: '' });
      console.log(`100,000 rows and 75 MB from ${source.kind} to ${target.kind}: ${output.trim()}`);
      const [inboxes] = await read<{ n: string }>(to, `SELECT COUNT(*) AS n FROM mesh_inbox`);
      expect(Number(inboxes!.n)).toBe(100_701);
    }, 120_000);
  },
);
