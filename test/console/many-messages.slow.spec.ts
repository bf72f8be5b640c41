import type { Browser } from 'playwright-core';
import { buildConsole, describeInBrowser, startBrowser, visit } from '../support/browser.js';
import { HOSTILE_NAME, InventedMesh } from '../support/invented-mesh.js';

/** A page that is blocked for longer feels frozen, in ms; a busy machine needs some of it. */
const MAX_BLOCKED_MS = 400;

describeInBrowser('The console at 10,000 messages a second', () => {
  const mesh = new InventedMesh();
  let browser: Browser;
  let url: string;

  beforeAll(async () => {
    buildConsole();
    [browser, url] = await Promise.all([startBrowser(), mesh.start()]);
  });
  afterAll(async () => {
    await browser.close();
    await mesh.stop();
  });

  it('does not freeze, starts few pulses, and takes no name for HTML', async () => {
    const { page, problems, go, close } = await visit(browser, url);
    await page.getByRole('row', { name: `${HOSTILE_NAME} 100 1,000 ✕ 1` }).waitFor();
    for (const title of ['Overview', 'Topology']) {
      await go(title);
      const { blockedMs, pulses } = await page.evaluate(async () => {
        let blockedMs = 0;
        let pulses = 0;
        for (let last = performance.now(), end = last + 5000; last < end;) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          const now = performance.now();
          blockedMs = Math.max(blockedMs, now - last);
          pulses = Math.max(pulses, document.querySelectorAll('.pulse').length);
          last = now;
        }
        return { blockedMs, pulses };
      });
      expect(blockedMs).toBeLessThan(MAX_BLOCKED_MS);
      // A pulse takes less than a second, and those of two seconds may overlap.
      expect(pulses).toBeLessThanOrEqual(40);
    }
    await page
      .getByRole('row', { name: `${HOSTILE_NAME} 1 not in a contract` })
      .first()
      .waitFor();
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
    expect(problems).toEqual([]);
    await close();
  });

  it('says that the stream is broken, and goes on when it is back', async () => {
    const { page, close } = await visit(browser, url);
    await page.getByText('● Live').waitFor();
    mesh.goDown();
    await page.getByText('Reconnecting').waitFor();
    await page.waitForTimeout(3000);
    expect(await page.getByText('● Live').isVisible()).toBe(false);
    mesh.isDown = false;
    await page.getByText('● Live').waitFor({ timeout: 3000 });
    await close();
  });
});
