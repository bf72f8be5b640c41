import { randomUUID } from 'node:crypto';
import type { Browser } from 'playwright-core';
import { DEMO_RIDE } from '../../src/demo.js';
import { freePort } from '../../tools/ports.js';
import { buildConsole, describeInBrowser, startBrowser, violations, visit } from '../support/browser.js';
import { DATABASES } from '../support/databases.js';
import { connect } from '../support/notes.js';
import { startServer, type ServerProcess } from '../support/server.js';

/** Would run as a script if the page took it for HTML. */
const HOSTILE = '<img src=x onerror="window.hacked = true">';

describeInBrowser('Failures on the console', () => {
  let browser: Browser;
  let server: ServerProcess;
  let database: string;
  let environment: Record<string, string>;

  beforeAll(async () => {
    buildConsole();
    database = await DATABASES[0]!.fresh();
    environment = { DATABASE_URL: database, SEED: 'demo', PORT: String(await freePort()) };
    [browser, server] = await Promise.all([startBrowser(), startServer(environment)]);
  });
  afterAll(async () => {
    await browser.close();
    await server.end('SIGKILL');
  });

  it('become dead letters, which are requeued one by one, by choice and all together, or discarded', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Timeline');
    await page.getByRole('combobox', { name: 'For 10 s, let' }).selectOption('invoicing');
    await page.getByRole('button', { name: 'Reject' }).click();
    await page.getByText('invoicing rejects all messages').waitFor();
    await page.getByRole('button', { name: 'Start ten rides' }).click();
    await page.getByText('10 rides were ordered').waitFor();
    await go('Topology');
    await page.getByRole('row', { name: /IssueInvoice .*fails/ }).waitFor();
    await go('Overview');
    await page.getByRole('listitem').filter({ hasText: 'Dead letters' }).getByText('▲ 10').waitFor();
    await page.getByRole('heading').getByRole('link', { name: 'Dead letters' }).click();
    await page.getByRole('table').getByRole('link').click();

    await page.getByRole('button', { name: 'Show the event of' }).first().click();
    await page.getByText('"type": "cabs.invoicing.issue-invoice"').waitFor();
    expect(await violations(page)).toEqual([]);
    // The fault ends after ten seconds: what is requeued then succeeds.
    await page.waitForTimeout(10_000);
    await page.getByRole('button', { name: 'Requeue this message' }).click();
    await page.getByText('9 messages', { exact: false }).first().waitFor();

    const boxes = page.getByRole('checkbox', { name: /^Check / });
    await boxes.nth(1).check();
    await boxes.nth(2).check();
    await page.getByRole('button', { name: 'Requeue checked (2)' }).click();
    await page.getByRole('button', { name: 'Requeue all 7 messages' }).waitFor();

    await boxes.nth(1).check();
    await page.getByRole('button', { name: 'Discard checked (1)' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Discard checked (1)' }).click();
    expect(await violations(page)).toEqual([]);
    await page.getByRole('dialog').getByRole('button', { name: 'Discard checked (1)' }).click();
    await page.getByText('1 message discarded.').waitFor();

    await page.getByRole('button', { name: 'Requeue all 6 messages' }).click();
    await page.getByText('6 messages requeued.').first().waitFor();
    await go('Dead letters');
    await page.getByText('No message has failed for good.').waitFor();
    expect(problems).toEqual([]);
    await close();
  });

  it('are retried, and the timeline tells the attempts', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Timeline');
    await page.getByRole('combobox', { name: 'For 10 s, let' }).selectOption('loyalty');
    await page.getByRole('button', { name: 'Slow down' }).click();
    await page.getByText('loyalty is slow for 10 s').waitFor();
    await page.getByRole('combobox', { name: 'For 10 s, let' }).selectOption('invoicing');
    await page.getByRole('button', { name: 'Fail' }).click();
    await page.getByText('invoicing fails, and is retried, for 10 s').waitFor();
    await page.getByRole('button', { name: 'End the demo ride' }).click();
    await page.getByText('The demo ride has ended').waitFor();
    await page.getByRole('searchbox', { name: 'Value' }).fill(DEMO_RIDE);
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.getByRole('button', { name: /^issue-invoice ▲ \d+ attempts at invoicing/ }).waitFor();
    expect(await violations(page)).toEqual([]);
    expect(problems).toEqual([]);
    await close();
  });

  it('of the process itself are said plainly, and the page goes on when it is back', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await page.getByText('● Live').waitFor();
    await go('Timeline');
    const exited = new Promise((resolve) => server.process.once('exit', resolve));
    await page.getByRole('button', { name: 'Kill this process' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Kill this process' }).click();
    await page.getByText('This process was killed.').waitFor();
    await page.getByText('Reconnecting').waitFor();
    await exited;
    server = await startServer(environment);
    await page.getByText('● Live').waitFor();
    await go('Overview');
    await page.getByRole('cell', { name: /silent for/ }).waitFor();
    await page.getByRole('cell', { name: '✓ answers' }).waitFor();
    // Only that the server was away.
    expect(problems.filter((it) => !/net::ERR_|Failed to load resource/.test(it))).toEqual([]);
    await close();
  });

  it('with HTML in their names stay text', async () => {
    const connection = await connect(database);
    const text = HOSTILE.replaceAll("'", "''");
    const event = JSON.stringify({ specversion: '1.0', id: HOSTILE, source: HOSTILE, type: HOSTILE, subject: HOSTILE });
    await connection.run(
      `INSERT INTO mesh_dead_letter (id, consumer, event_id, type, subject, event, attempts, cause, error, dead_at)
       VALUES ('${randomUUID()}', '${text}', '${text}', '${text}', '${text}', '${event}', 1, '${text}', '${text}', ${Date.now()})`,
    );
    await connection.run(
      `INSERT INTO mesh_journal (id, source, type, subject, consumer, causation_id, correlation_id, created_at, handled_at,
         attempts, outcome)
       VALUES ('${text}', '${text}', '${text}', '${text}', '${text}', '${text}', '${text}', ${Date.now()}, ${Date.now()}, 1,
         'handled')`,
    );
    await connection.close();
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Dead letters');
    await page.getByRole('link', { name: HOSTILE }).click();
    await page.getByRole('heading', { level: 1, name: HOSTILE }).waitFor();
    await page.getByRole('button', { name: `Show the event of ${HOSTILE}` }).click();
    await page.locator('pre').getByText('onerror').waitFor();
    await page.getByRole('button', { name: 'Requeue all 1 message' }).click();
    await page.getByText('Not requeued').waitFor();
    expect(await violations(page)).toEqual([]);
    await go('Timeline');
    await page.getByRole('link', { name: HOSTILE }).click();
    await page
      .getByRole('button', { name: /onerror/ })
      .first()
      .click();
    await page.getByRole('complementary').getByText(HOSTILE).first().waitFor();
    expect(await page.evaluate(() => [document.querySelectorAll('img[src="x"]').length, 'hacked' in window])).toEqual([
      0,
      false,
    ]);
    expect(problems).toEqual([]);
    await close();
  });
});
