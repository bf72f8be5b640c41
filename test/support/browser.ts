import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { findChromium } from '../../tools/chromium.js';
import { ROOT } from '../../tools/source.js';

/* The console in Chromium: that of CHROMIUM, or that of the system. */

const executablePath = findChromium();

/** A suite that needs Chromium; where there is none, it says so and is skipped. */
export const describeInBrowser: jest.Describe = executablePath ? describe : describe.skip;
if (!executablePath) console.log('Chromium is not installed (set CHROMIUM to its path): the console is not tested.');

/** Builds console/dist, which the application serves, where it is missing or older than its sources. */
export function buildConsole(): void {
  const folder = join(ROOT, 'console/dist');
  if (isUpToDate(folder)) return;
  // Suites that run at the same time would find half of the files.
  const built = mkdtempSync(`${folder}-`);
  const vite = join(ROOT, 'node_modules/vite/bin/vite.js');
  execFileSync(process.execPath, [vite, 'build', join(ROOT, 'console'), '--outDir', built, '--emptyOutDir']);
  if (isUpToDate(folder)) return rmSync(built, { recursive: true });
  rmSync(folder, { recursive: true, force: true });
  renameSync(built, folder);
}

function isUpToDate(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const sources = readdirSync(join(ROOT, 'console'), { withFileTypes: true }).filter((it) => it.isFile());
  const changedAt = sources.map(({ name }) => statSync(join(ROOT, 'console', name)).mtimeMs);
  return statSync(join(folder, 'app.js')).mtimeMs > Math.max(...changedAt);
}

export function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath, args: ['--no-sandbox'] });
}

/** A page of the console, and what went wrong in it: errors of scripts and of the console, violations of its policy. */
export interface Visit {
  readonly page: Page;
  readonly problems: string[];
  /** Opens a page by its title in the navigation. */
  readonly go: (title: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function visit(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const problems: string[] = [];
  // Chromium logs a violation of the Content-Security-Policy as an error.
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(`${url}/mesh/console`);
  const go = async (title: string) => {
    await page.getByRole('navigation', { name: 'Pages', exact: true }).getByRole('link', { name: title }).click();
    await page.getByRole('heading', { level: 1, name: title }).waitFor();
  };
  return { page, problems, go, close: () => context.close() };
}

const axe = readFileSync(createRequire(join(ROOT, 'package.json')).resolve('axe-core/axe.min.js'), 'utf8');

/** The rules of axe-core that the page breaks, each with an element. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import('axe-core') };
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes[0]!.html} ${nodes[0]!.failureSummary}`);
  });
}
