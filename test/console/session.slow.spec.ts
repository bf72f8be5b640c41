import type { Browser } from 'playwright-core';
import { buildConsole, describeInBrowser, startBrowser, violations, visit } from '../support/browser.js';
import { DATABASES } from '../support/databases.js';
import { startServer, type ServerProcess } from '../support/server.js';

const ADMIN = 'a token of an administrator';
const READER = 'a token of a reader';

describeInBrowser('The console of a mesh with tokens', () => {
  let browser: Browser;
  let server: ServerProcess;

  beforeAll(async () => {
    buildConsole();
    const environment = { DATABASE_URL: await DATABASES[0]!.fresh(), MESH_ADMIN_TOKEN: ADMIN, MESH_READ_TOKEN: READER };
    [browser, server] = await Promise.all([startBrowser(), startServer(environment)]);
  });
  afterAll(async () => {
    await browser.close();
    await server.end('SIGKILL');
  });

  it('asks for a token, refuses a wrong one, and ends the session when the user signs out', async () => {
    const { page, problems, close } = await visit(browser, server.url);
    const token = page.getByLabel('Token of an administrator or a reader');
    await token.fill('a token that is wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').waitFor();
    expect(await violations(page)).toEqual([]);
    await token.fill(ADMIN);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('● Live').waitFor();
    await page.reload();
    await page.getByText('● Live').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await token.waitFor();
    await page.reload();
    await token.waitFor();
    // Chromium logs each answer of 401.
    expect(problems.filter((it) => !/status of 401/.test(it))).toEqual([]);
    await close();
  });

  it('lets a reader see everything, and change nothing', async () => {
    const { page, go, close } = await visit(browser, server.url);
    await page.getByLabel('Token of an administrator or a reader').fill(READER);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('read only').waitFor();
    for (const title of ['Timeline', 'Dead letters', 'Reconciliation']) {
      await go(title);
      expect(await page.getByRole('button', { name: /ride|kill|fail|requeue|discard|run/i }).count()).toBe(0);
    }
    await close();
  });

  it('closes its stream while the page is hidden', async () => {
    const { page, problems, close } = await visit(browser, server.url);
    await page.getByLabel('Token of an administrator or a reader').fill(READER);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('● Live').waitFor();
    const hide = (isHidden: boolean) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, isHidden);
    await hide(true);
    await page.getByText('Paused').waitFor();
    const requests: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    await page.waitForTimeout(3000);
    expect(requests).toEqual([]);
    await hide(false);
    await page.getByText('● Live').waitFor();
    expect(problems.filter((it) => !/status of 401/.test(it))).toEqual([]);
    await close();
  });
});
