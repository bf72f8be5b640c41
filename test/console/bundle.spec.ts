import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ROOT } from '../../tools/source.js';

/** Of all files together, gzipped. */
const MAX_BYTES = 100_000;

const folder = mkdtempSync(join(tmpdir(), 'console-'));
const read = (file: string) => readFileSync(join(folder, file), 'utf8');

// In a process of its own: Vite's native parts don't work in the VM contexts of Jest.
beforeAll(() => {
  const vite = join(ROOT, 'node_modules/vite/bin/vite.js');
  execFileSync(process.execPath, [vite, 'build', join(ROOT, 'console'), '--outDir', folder, '--emptyOutDir']);
});
afterAll(() => rmSync(folder, { recursive: true }));

it('The console is built as the four files that the server serves', () => {
  expect(readdirSync(folder).sort()).toEqual(['app.css', 'app.js', 'icon.svg', 'index.html']);
});

it('The console is smaller than 100 kB', () => {
  const sizes = readdirSync(folder).map((file) => gzipSync(readFileSync(join(folder, file))).length);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(MAX_BYTES);
});

it('The page has no script and no style inside, and loads nothing from elsewhere', () => {
  const page = read('index.html');
  expect(page).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:/);
  const addresses = [...page.matchAll(/\s(?:src|href)="([^"]*)"/g)].map(([, address]) => address);
  expect(addresses.sort()).toEqual(['app.css', 'app.js', 'icon.svg'].map((file) => `/mesh/console/${file}`));
  expect(read('app.css')).not.toMatch(/url\(|@import/);
});
