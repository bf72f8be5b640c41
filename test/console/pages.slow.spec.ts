import type { Browser } from 'playwright-core';
import { buildConsole, describeInBrowser, startBrowser, violations, visit } from '../support/browser.js';
import { DATABASES } from '../support/databases.js';
import { startServer, type ServerProcess } from '../support/server.js';

const PAGES = ['Overview', 'Topology', 'Timeline', 'Dead letters', 'Reconciliation', 'Contracts'];
const WIDTHS = [1280, 400];
const SCHEMES = ['light', 'dark'] as const;

describeInBrowser('The pages of the console', () => {
  let browser: Browser;
  let server: ServerProcess;

  beforeAll(async () => {
    buildConsole();
    [browser, server] = await Promise.all([
      startBrowser(),
      startServer({ DATABASE_URL: await DATABASES[0]!.fresh(), SEED: 'demo' }),
    ]);
  });
  afterAll(async () => {
    await browser.close();
    await server.end('SIGKILL');
  });

  it('break no rule of accessibility, in light and dark, wide and narrow, and no error is logged', async () => {
    for (const width of WIDTHS) {
      for (const colorScheme of SCHEMES) {
        const { page, problems, go, close } = await visit(browser, server.url, {
          viewport: { width, height: 800 },
          colorScheme,
        });
        await page.getByText('● Live').waitFor();
        for (const title of PAGES) {
          await go(title);
          await page.getByRole('table').or(page.getByText('No message has ')).first().waitFor();
          expect([title, width, colorScheme, await violations(page)]).toEqual([title, width, colorScheme, []]);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          expect([title, width, overflow]).toEqual([title, width, 0]);
        }
        expect(problems).toEqual([]);
        await close();
      }
    }
  });

  it('show a ride as it is settled: its bars, its causes and the attributes of a message', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Timeline');
    await page.getByRole('button', { name: 'End the demo ride' }).click();
    await page.getByText('The demo ride has ended').waitFor();
    await page.getByRole('table', { name: 'Latest subjects' }).getByRole('link').first().click();
    const bar = page.getByRole('button', { name: /^issue-invoice at invoicing, handled at the first attempt/ });
    await bar.focus();
    await page.keyboard.press('Enter');
    const details = page.getByRole('complementary', { name: 'Attributes of the message' });
    await details.getByText('cabs.invoicing.issue-invoice', { exact: true }).waitFor();
    expect(await page.locator('path.effect').count()).toBeGreaterThan(5);
    expect(await violations(page)).toEqual([]);
    await details.getByRole('definition').getByRole('link').last().click();
    await page.waitForURL(/correlationId=/);
    await page.getByRole('button', { name: /^issue-invoice at invoicing/ }).waitFor();
    await page.getByRole('link', { name: 'Latest subjects' }).click();
    await page.getByRole('combobox', { name: 'Search by' }).selectOption('correlation id');
    await page.getByRole('searchbox', { name: 'Value' }).fill('none has this');
    await page.getByRole('button', { name: 'Show' }).click();
    await page.getByText('The journal has no message of it').waitFor();
    expect(problems).toEqual([]);
    await close();
  });

  it('show the modules, and what is known of a message and of a module', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Topology');
    const edge = page.getByRole('button', { name: 'IssueInvoice, command from rides to invoicing' });
    await edge.focus();
    await page.keyboard.press('Enter');
    const details = page.getByRole('complementary', { name: 'Details' });
    await details.getByText('Schema').click();
    await details.getByText('"type": "object"').first().waitFor();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press('Escape');
    await details.waitFor({ state: 'detached' });
    expect(await edge.evaluate((element) => element === document.activeElement)).toBe(true);
    await page.getByRole('button', { name: /^invoicing .*\(module\)/ }).click();
    await details.getByText('A module of this process').waitFor();
    await page.getByRole('button', { name: 'RegisterMiles', exact: true }).click();
    await details.getByRole('heading', { name: 'RegisterMiles' }).waitFor();
    await details.getByRole('button', { name: 'Close the details' }).click();
    expect(problems).toEqual([]);
    await close();
  });

  it('filter the contracts, show a schema and download them all', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Contracts');
    await page.getByRole('searchbox').fill('invoicing command');
    await page.getByText('1 of ').waitFor();
    await page.getByText('Example').click();
    await page.getByText('Schema').click();
    await page.locator('pre').first().waitFor();
    const download = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download AsyncAPI' }).click();
    expect((await download).suggestedFilename()).toBe('asyncapi.json');
    expect(problems).toEqual([]);
    await close();
  });

  it('run the reconcile loop, also dry', async () => {
    const { page, problems, go, close } = await visit(browser, server.url);
    await go('Reconciliation');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await page.getByRole('cell', { name: 'completed dry run' }).waitFor();
    await page.getByRole('checkbox', { name: 'Also what changed a moment ago' }).uncheck();
    await page.getByRole('checkbox', { name: 'Also what earlier runs found in order' }).check();
    await page.getByRole('button', { name: 'Run now' }).click();
    await page.getByText('A run has started').waitFor();
    await page.getByRole('cell', { name: 'completed full' }).waitFor();
    await page.getByRole('cell', { name: 'completed dry run' }).waitFor({ state: 'detached' });
    expect(problems).toEqual([]);
    await close();
  });
});
