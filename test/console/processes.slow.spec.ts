import type { Browser } from 'playwright-core';
import { MODULE_NAMES } from '../../src/app.module.js';
import { buildConsole, describeInBrowser, startBrowser, violations, visit } from '../support/browser.js';
import { DATABASES } from '../support/databases.js';
import { Deployment } from '../support/processes.js';
import { prepareRides } from '../support/server.js';

describeInBrowser('The console of a process for each module', () => {
  const deployment = new Deployment({ route: 'split', transport: 'split' }, () => DATABASES[0]!.fresh());
  let browser: Browser;

  beforeAll(async () => {
    buildConsole();
    [browser] = await Promise.all([startBrowser(), deployment.start()]);
  });
  afterAll(async () => {
    await browser.close();
    await deployment.stop('SIGKILL');
  });

  it('shows all processes, the broker between them, and what goes over it', async () => {
    const { page, problems, go, close } = await visit(browser, deployment.url);
    for (const name of MODULE_NAMES)
      await page.getByRole('row', { name: new RegExp(`^${name} \\d+ ✓ answers`) }).waitFor();
    await page.getByText('✓ accepts messages').waitFor();
    await go('Topology');
    const rides = prepareRides(deployment.url, 5);
    await page.getByRole('row', { name: /OccupyDriver .*active/ }).waitFor();
    await rides;
    await page.getByRole('button', { name: 'broker (between modules)' }).click();
    await page.getByRole('complementary').getByText('cabs.').first().waitFor();
    expect(await violations(page)).toEqual([]);
    await go('Timeline');
    await page.getByRole('combobox', { name: 'Process of' }).selectOption('loyalty');
    await page.getByRole('button', { name: 'Kill the process of loyalty' }).waitFor();
    expect(problems).toEqual([]);
    await close();
  });
});
