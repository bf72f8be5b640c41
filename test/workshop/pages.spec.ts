import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { EXERCISES } from '../../workshop/exercises/exercises.js';
import { FAULTS } from '../../workshop/lab/faults.js';
import { STEPS } from '../../workshop/runner/steps.js';

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const pages = [
  'README.md',
  'workshop/README.md',
  'workshop/TEACHING.md',
  ...STEPS.map(({ folder }) => `workshop/${folder}/README.md`),
  ...EXERCISES.map(({ folder }) => `workshop/exercises/${folder}/README.md`),
];

describe('The pages of the workshop', () => {
  it.each(STEPS.map(({ folder }) => folder))('of step %s answer the same questions as all others', (folder) => {
    const headings = [...read(`workshop/${folder}/README.md`).matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual([
      'What hurts now',
      'What we change, and why',
      'The change',
      'Run it',
      'What to see',
      'What it costs',
      'Questions',
    ]);
    expect(read(`workshop/${folder}/README.md`)).toMatch(/<details><summary>.+\?<\/summary>/);
  });

  it.each(EXERCISES.map(({ folder }) => folder))('have hints for exercise %s', (folder) => {
    expect(read(`workshop/exercises/${folder}/hints.md`).split(/^---$/m).length).toBeGreaterThan(3);
  });

  it.each(pages)('link to files that exist: %s', (page) => {
    const links = [...read(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, link]) => link!);
    expect(links.filter((link) => !existsSync(join(ROOT, dirname(page), link)))).toEqual([]);
  });

  it.each(pages)('name commands that exist: %s', (page) => {
    const text = read(page);
    for (const [, steps, faults] of text.matchAll(/lab --steps ([\d,-]+)(?: --faults ([a-z,]+))?/g)) {
      expect(steps).toMatch(/^\d(-\d)?(,\d(-\d)?)*$/);
      const names = FAULTS.map(({ name }) => name);
      expect(faults?.split(',').filter((it) => !names.includes(it)) ?? []).toEqual([]);
    }
    const scripts = (JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts;
    for (const [, script] of text.matchAll(/npm run ([\w:-]*\w)/g)) expect(scripts).toHaveProperty([script!]);
  });

  it('exist for every folder of a step, and for no other folder', () => {
    const folders = readdirSync(join(ROOT, 'workshop')).filter((name) => /^\d-/.test(name));
    expect(folders).toEqual(STEPS.map(({ folder }) => folder));
  });
});
