import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { chromium, type Locator, type Page } from 'playwright-core';
import { DEMO_RIDE } from '../src/demo.js';
import { findChromium } from './chromium.js';
import { freePort } from './ports.js';
import { ROOT } from './source.js';

/*
 * npm run console:screenshots: plays a story on the console as a new user would, measures how soon each event is on the
 * page, and writes docs/console/<name>.png.
 */

const FOLDER = join(ROOT, 'docs/console');
/** Every event has to be on the page after this time, in ms. */
const SOON_MS = 2000;
/** How long rides are played before the first picture, in ms: the charts show two minutes. */
const WARM_UP_MS = 45_000;

async function main(): Promise<void> {
  const executablePath = findChromium();
  if (!executablePath) throw new Error('Chromium is not installed: install it, or set CHROMIUM to its path');
  mkdirSync(FOLDER, { recursive: true });
  const url = `http://localhost:${await freePort()}`;
  const application = start(url);
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    await answers(url);
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
    await page.goto(`${url}/mesh/console`);
    await new Story(page, url).play();
  } finally {
    await browser.close();
    application.kill('SIGTERM');
  }
}

/** The compiled application on an empty database, started again when it is killed. */
function start(url: string): ChildProcess {
  const database = `sqlite:${join(mkdtempSync(join(tmpdir(), 'cabs-console-')), 'cabs.db')}`;
  const environment = { PATH: process.env.PATH, PORT: new URL(url).port, DATABASE_URL: database, LOG_LEVEL: 'warn' };
  const files = [join(ROOT, 'tools/restart-when-killed.mjs'), join(ROOT, 'dist/src/main.js')];
  return spawn(process.execPath, files, { env: environment, stdio: ['ignore', 'ignore', 'inherit'] });
}

async function answers(url: string): Promise<void> {
  const isThere = () =>
    fetch(`${url}/mesh/console/session`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await isThere())) await wait(20);
}

class Story {
  private isLate = false;

  constructor(
    private readonly page: Page,
    private readonly url: string,
  ) {}

  async play(): Promise<void> {
    await this.overview();
    await this.topology();
    await this.demoRide();
    await this.deadLetters();
    await this.kill();
    await this.others();
    if (this.isLate) throw new Error(`An event was on the page after more than ${SOON_MS} ms`);
  }

  private async overview(): Promise<void> {
    const until = Date.now() + WARM_UP_MS;
    while (Date.now() < until) {
      await this.rides();
      await wait(Math.random() * 1500);
    }
    await this.picture('overview');
  }

  private async topology(): Promise<void> {
    const { page } = this;
    await this.go('Topology');
    await this.rides();
    await this.soon('ten rides, on the topology', page.locator('.edge.active').first());
    const rides = Promise.all([this.rides(), this.rides(), this.rides()]);
    await page.locator('.pulse').nth(4).waitFor();
    await this.picture('topology', { isScrolled: false });
    await page.emulateMedia({ colorScheme: 'dark' });
    await this.picture('topology-dark', { isScrolled: false });
    await page.emulateMedia({ colorScheme: 'light' });
    await rides;
  }

  private async demoRide(): Promise<void> {
    const { page } = this;
    await this.go('Timeline');
    await page.getByRole('searchbox', { name: 'Value' }).fill(DEMO_RIDE);
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.getByRole('button', { name: 'End the demo ride' }).click();
    const invoice = page.getByRole('button', { name: /^invoice-issued at rides/ });
    await this.soon('the demo ride, settled', invoice);
    await invoice.click();
    await this.picture('timeline');
  }

  private async deadLetters(): Promise<void> {
    const { page } = this;
    await page.getByRole('combobox', { name: /let/ }).selectOption('invoicing');
    await page.getByRole('button', { name: 'Reject' }).click();
    await page.getByText('invoicing rejects').waitFor();
    const disturbedAt = Date.now();
    await this.go('Dead letters');
    await this.rides();
    await this.soon('dead letters', page.getByRole('cell', { name: '10', exact: true }));
    await this.picture('dead-letters');
    await page.getByRole('table').getByRole('link').click();
    await page.getByRole('button', { name: 'Show the event of' }).first().click();
    await page.locator('pre').waitFor();
    await this.picture('dead-letter-group');
    // The consumer is disturbed for ten seconds.
    await wait(disturbedAt + 10_500 - Date.now());
    await page.getByRole('button', { name: 'Requeue all' }).click();
    await this.soon('requeued dead letters', page.getByText('10 messages requeued.').first());
    await this.go('Dead letters');
    await this.soon('no dead letter', page.getByText('No message has failed for good.'));
    await this.picture('requeued');
  }

  private async kill(): Promise<void> {
    const { page, url } = this;
    await this.go('Timeline');
    await page.getByRole('button', { name: 'Kill this process' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Kill this process' }).click();
    await this.soon('the killed process', page.getByText('Reconnecting'));
    await this.picture('killed');
    await answers(url);
    await this.soon('the process that is back', page.getByText('● Live'));
    await this.go('Overview');
    await page.getByRole('cell', { name: /silent for/ }).waitFor();
    await this.picture('back');
  }

  private async others(): Promise<void> {
    const { page } = this;
    await this.go('Contracts');
    await page.getByText('Example').nth(1).click();
    await this.picture('contracts', { isScrolled: false });
    await this.go('Reconciliation');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await this.soon('a run of the reconcile loop', page.getByRole('cell', { name: 'dry run' }));
    await page.getByRole('cell', { name: 'completed dry run' }).waitFor();
    await this.picture('reconciliation');
  }

  private async go(title: string): Promise<void> {
    await this.page.getByRole('navigation', { name: 'Pages', exact: true }).getByRole('link', { name: title }).click();
  }

  /** Ten rides, from the order to the end. */
  private async rides(): Promise<void> {
    const headers = { 'x-mesh-console': '1' };
    const response = await fetch(`${this.url}/mesh/console/actions/start-ten-rides`, { method: 'POST', headers });
    if (!response.ok) throw new Error(`Ten rides could not be started: ${await response.text()}`);
  }

  /** Waits until an event is on the page, and measures how long that takes. */
  private async soon(event: string, seen: Locator): Promise<void> {
    const began = performance.now();
    await seen.waitFor();
    const ms = Math.round(performance.now() - began);
    if (ms > SOON_MS) this.isLate = true;
    console.log(`${event}: on the page after ${ms} ms`);
  }

  /** @param isScrolled whether the picture shows the whole page, below the window as well */
  private async picture(name: string, { isScrolled = true } = {}): Promise<void> {
    const notice = this.page.getByRole('button', { name: 'Close the message' });
    if (await notice.isVisible()) await notice.click();
    await this.page.screenshot({ path: join(FOLDER, `${name}.png`), fullPage: isScrolled });
  }
}

await main();
