import { reportPage } from '../../workshop/lab/page.js';
import type { Outcome, Report } from '../../workshop/lab/report.js';

const STEPS = ['legacy', 'naive-split', 'outbox'].map((title, number) => ({ number, title }));
const REASON = 'it makes no "remote" calls';

function outcome(step: number, fault: string, more: Partial<Outcome> = {}): Outcome {
  const well = { requests: 40, answered: 40, prompt: 40, p50Ms: 4.2, p99Ms: 12, restMs: 700 };
  const noise = { timerDelayMs: 1, otherCpu: 0 };
  return { step, fault, ...well, ...noise, rested: true, lost: 0, missing: 0, duplicated: 0, stuck: 0, ...more };
}

const REPORT: Report = {
  date: '2026-11-24T22:13:39.672Z',
  machine: { cpu: 'EPYC <b>&', cores: 2, memoryGiB: 24, node: 'v20.20.2' },
  isQuick: true,
  seconds: 185,
  steps: STEPS,
  failingProbability: 0.01,
  callsPerRide: { 1: 12 },
  faults: [
    { name: 'none', title: 'nothing is wrong' },
    { name: 'slow', title: 'invoicing takes 200 ms longer' },
    { name: 'failing', title: '<script>alert(1)</script> fails' },
  ],
  outcomes: [
    ...STEPS.map(({ number }) => outcome(number, 'none')),
    outcome(0, 'slow', { p50Ms: 6740, p99Ms: 7678 }),
    outcome(1, 'slow', { p50Ms: 3111, p99Ms: 16_143, rested: false }),
    outcome(2, 'slow', { p50Ms: 0, p99Ms: 0, answered: 0 }),
    outcome(1, 'failing', { requests: 3000, answered: 2999, lost: 7, missing: 35, duplicated: 48, stuck: 15 }),
  ],
  inapplicable: [{ step: 0, fault: 'failing', why: REASON }],
  expectations: [
    { claim: 'Split, it is "ten" times slower', verdict: 'not confirmed', measured: '4.0 times' },
    { claim: 'It makes 12 remote calls', verdict: 'confirmed', measured: '12 a ride' },
    { claim: 'Users wait', verdict: 'not measurable', measured: 'too noisy' },
  ],
};

const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([whole, part]) => part ?? whole);
/** What a reader sees of a piece of HTML. */
const seen = (html: string) =>
  html
    .replace(/<[^>]+>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();

describe('The page of the lab', () => {
  const page = reportPage(REPORT);
  const svgs = all(page, /<svg.*?<\/svg>/gs);
  /** The part under a heading. */
  const section = (heading: string) => page.split('<section>').find((it) => it.startsWith(`<h2>${heading}</h2>`))!;
  const rowsOf = (fault: string) => all(page.split(`<h3 id="${fault}">`)[1]!.split('</table>')[0]!, /<tr.*?<\/tr>/gs);
  /** The columns of a fault in a section of charts. */
  const columnsOf = (heading: string, fault: string) =>
    all(section(heading).split(`<code>${fault}</code>`)[1]!.split('</svg>')[0]!, /<g class="mark">.*?<\/g>/gs);

  it('says when, on what and for how long it was measured', () => {
    const head = seen(page.split('<main>')[1]!.split('<section>')[0]!);
    expect(head).toMatch(/^What became of every ride/);
    expect(head).toContain('2026-11-24 22:13 UTC');
    expect(head).toContain('2 cores, 24 GiB of memory, Node v20.20.2');
    expect(head).toContain('quick, took 3 min 5 s');
  });

  it('escapes all text', () => {
    expect(page).toContain('EPYC &lt;b&gt;&amp;');
    expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt; fails');
    expect(page).toContain('Split, it is &quot;ten&quot; times slower');
    expect(page).not.toMatch(/undefined|NaN|Infinity|\[object/);
  });

  it('needs nothing but itself', () => {
    expect(page).not.toMatch(/<script|<iframe|<img|\bon\w+=|https?:|@import|url\(/i);
    expect(all(page, /(?:src|href)="([^"]*)"/g)).toEqual(['data:,']);
    expect(page).toContain("default-src 'none'");
  });

  it('nests its elements properly', () => {
    const open: string[] = [];
    const alone = /^(meta|link|rect|line|path|circle|!doctype)$/;
    for (const [, slash, name, own] of page.matchAll(/<(\/?)([!\w]+)[^>]*?(\/?)>/g)) {
      if (slash) expect(open.pop()).toBe(name);
      else if (!own && !alone.test(name!)) open.push(name!);
    }
    expect(open).toEqual([]);
  });

  it('marks claims as confirmed, not confirmed or not measurable, with their figures', () => {
    const items = all(section('Claims'), /<li>.*?<\/li>/gs).map(seen);
    expect(items).toEqual([
      'not confirmed Split, it is &quot;ten&quot; times slower Measured: 4.0 times',
      'confirmed It makes 12 remote calls Measured: 12 a ride',
      'not measurable Users wait Measured: too noisy',
    ]);
    expect(section('Claims')).toContain('confirms 1 of 3');
    expect(reportPage({ ...REPORT, expectations: [] })).toContain('decide no claim');
  });

  it('has a chart for each fault, and a column for each step in each', () => {
    expect(svgs).toHaveLength(3 + 2 + 3);
    for (const svg of svgs) {
      expect(svg).toMatch(/^<svg role="img" [^>]*><title>[^<]+<\/title>/);
      expect(all(svg, /<g class="mark"><title>Step (\d)/g)).toEqual(['0', '1', '2']);
    }
    for (const { name, title } of REPORT.faults) {
      for (const step of STEPS) expect(seen(rowsOf(name)[step.number + 1]!)).toContain(`${step.number} ${step.title}`);
      expect(page.split(`<code>${name}</code>`).length).toBeGreaterThanOrEqual(4);
      expect(page).toContain(title.replaceAll('<', '&lt;').replaceAll('>', '&gt;'));
    }
  });

  it('draws a bar as high as its share', () => {
    const heights = (fault: string) =>
      columnsOf('How many were answered with success', fault).flatMap((it) =>
        all(it, /class="bar good".*height="(.*?)"/g),
      );
    expect(heights('none')).toEqual(['100', '100', '100']);
    expect(heights('slow')).toEqual(['100', '100', '0']);
    // 2999 of 3000 aren't all.
    expect(columnsOf('How many were answered with success', 'failing')[1]).toContain('>99.9<');
  });

  it('draws waits on one logarithmic axis', () => {
    const [none, slow] = ['none', 'slow'].map((it) => columnsOf('How long users waited', it));
    const yOf = (column: string) => Number(/cy="(.*?)"/.exec(column)![1]);
    expect(yOf(none![0]!)).toBe(yOf(none![1]!));
    expect(yOf(slow![0]!)).toBeLessThan(yOf(none![0]!));
    expect(slow!.map((it) => all(it, /class="figure"[^>]*>(.*?)</g))).toEqual([
      ['7.7 s', '6.7 s'],
      ['16 s', '3.1 s'],
      ['0.0', '0.0'],
    ]);
    const without = reportPage({ ...REPORT, faults: REPORT.faults.slice(2) });
    expect(without).not.toContain('How long users waited');
  });

  it('shows that nothing went wrong as zeros, and what did as bars', () => {
    const figures = (column: string) => all(column, /class="figure \w+"[^>]*>(.*?)</g);
    const [healthy] = columnsOf('What went wrong with rides', 'none');
    expect(figures(healthy!)).toEqual(['0', '0', '0', '0']);
    const [, failing] = columnsOf('What went wrong with rides', 'failing');
    expect(figures(failing!)).toEqual(['7', '35', '48', '15']);
    expect(all(failing!, /class="bar bad"/g)).toHaveLength(4);
  });

  it('says why a step has no outcome', () => {
    const escaped = REASON.replaceAll('"', '&quot;');
    const [inapplicable, , unmeasured] = columnsOf('What went wrong with rides', 'failing');
    expect(inapplicable).toContain(`<title>Step 0, legacy: ${escaped}</title>`);
    expect(all(inapplicable!, />–</g)).toHaveLength(4);
    expect(unmeasured).toContain('<title>Step 2, outbox: it was not measured</title>');
    const rows = rowsOf('failing').map(seen);
    expect(rows[1]).toBe(`0 legacy – ${escaped}`);
    expect(rows[3]).toBe('2 outbox – it was not measured');
  });

  it('lists all figures, and emphasises harm', () => {
    expect(seen(rowsOf('none')[0]!)).toBe('step answered p50 p99 lost missing duplicated stuck');
    expect(seen(rowsOf('none')[1]!)).toBe('0 legacy 40 of 40, 100 % 4.2 ms 12 ms 0 0 0 0');
    expect(seen(rowsOf('failing')[2]!)).toBe('1 naive-split 2999 of 3000, 99.9 % 4.2 ms 12 ms 7 35 48 15');
    expect(all(page, /<strong>(\d+)<\/strong>/g)).toEqual(['7', '35', '48', '15']);
    expect(seen(rowsOf('slow')[2]!)).toMatch(/did not come to rest/);
  });

  it('explains each column, and how it was measured', () => {
    const legend = all(section('All figures').split('<h3')[0]!, /<dt>(.*?)<\/dt>/g);
    expect(legend).toEqual(['answered', 'p50', 'p99', 'lost', 'missing', 'duplicated', 'stuck']);
    const method = seen(section('How it was measured'));
    for (const fact of ['loopback', 'synchronous=FULL', 'no network latency', 'asks once', 'step 1: 12.', '1 %']) {
      expect(method).toContain(fact);
    }
  });
});
