import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { expectations } from '../../workshop/lab/expectations.js';
import type { Outcome, Report } from '../../workshop/lab/lab.js';
import { effectsOf, isWhole } from '../../workshop/lab/outcomes.js';
import { confidence, percentile } from '../../workshop/lab/statistics.js';
import { markdownTable, terminalTable } from '../../workshop/lab/table.js';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function workshop(...words: string[]): Promise<Ended> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--import', 'tsx', 'workshop/workshop.ts', ...words],
      { cwd: ROOT, env },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

const outcome = (step: number, fault: string, differs: Partial<Outcome> = {}): Outcome => ({
  ...{ step, fault, requests: 100, answered: 100, p50Ms: 5, p99Ms: 10 },
  ...{ lost: 0, missing: 0, duplicated: 0, stuck: 0, restMs: 700, rested: true },
  ...differs,
});

describe('The statistics', () => {
  it('take percentiles by the nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect([0.5, 0.99, 1].map((share) => percentile(values, share))).toEqual([50, 99, 100]);
    expect(percentile([7], 0.5)).toBe(7);
    expect(percentile([], 0.5)).toBe(0);
  });

  // Worked examples of Wilson's interval: Newcombe 1998, Statistics in Medicine 17, table I.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])('know the confidence of %i in %i', (successes, n, low, high) => {
    const interval = confidence(successes, n);
    expect(interval.low).toBeCloseTo(low, 3);
    expect(interval.high).toBeCloseTo(high, 3);
  });
});

describe('The counts', () => {
  const whole = { isCompleted: true, hasFee: true, isDriverFree: true, miles: 1, invoices: 1 };

  it('tell what is missing from what is doubled', () => {
    expect(effectsOf([whole])).toEqual({ missing: 0, duplicated: 0 });
    expect(effectsOf([{ ...whole, hasFee: false, invoices: 0 }])).toEqual({ missing: 2, duplicated: 0 });
    expect(effectsOf([{ ...whole, miles: 3, invoices: 2 }])).toEqual({ missing: 0, duplicated: 3 });
    // Nothing is owed for a ride that goes on; what it got all the same is too much only from the second on.
    expect(effectsOf([{ ...whole, isCompleted: false, isDriverFree: false }])).toEqual({ missing: 0, duplicated: 0 });
  });

  it('call a ride whole that is completed and lacks nothing', () => {
    expect(isWhole(whole)).toBe(true);
    expect(isWhole({ ...whole, isCompleted: false })).toBe(false);
    expect(isWhole({ ...whole, miles: 0 })).toBe(false);
  });
});

describe('The claims', () => {
  const judged = (...outcomes: Outcome[]) =>
    expectations({ outcomes, callsPerRide: {}, failingProbability: 0.01 }).map(({ isConfirmed }) => isConfirmed);

  it.each<[string, Outcome[], boolean]>([
    ['ten times slower', [outcome(0, 'none'), outcome(1, 'none', { p50Ms: 50 })], true],
    ['only four times slower', [outcome(0, 'none'), outcome(1, 'none', { p50Ms: 20 })], false],
    ['as many successes as (1 - p)^12', [outcome(1, 'failing', { requests: 1000, answered: 886 })], true],
    ['more of them than that', [outcome(1, 'failing', { requests: 1000, answered: 990 })], false],
    ['an outage that is survived from step 4 on', [outcome(3, 'down', { answered: 38 }), outcome(4, 'down')], true],
    ['one that refuses somebody in step 6', [outcome(6, 'down', { answered: 99 })], false],
    ['one that refuses nobody in step 0', [outcome(0, 'down')], false],
    ['messages that a crash loses in memory only', [outcome(4, 'killed', { lost: 9 }), outcome(5, 'killed')], true],
    [
      'messages that a crash loses from an outbox',
      [outcome(4, 'killed', { lost: 9 }), outcome(5, 'killed', { missing: 1 })],
      false,
    ],
    ['a crash that loses nothing in memory either', [outcome(4, 'killed'), outcome(5, 'killed')], false],
    [
      'effects that are doubled without an inbox only',
      [outcome(5, 'twice', { duplicated: 8 }), outcome(6, 'twice')],
      true,
    ],
    ['effects that are doubled with an inbox', [outcome(6, 'twice', { duplicated: 1 })], false],
    ['a broker whose death loses nothing', [outcome(7, 'broker')], true],
    ['a broker whose death loses a ride', [outcome(7, 'broker', { lost: 1 })], false],
  ])('judge %s', (_, outcomes, isConfirmed) => {
    expect(judged(...outcomes)).toEqual([isConfirmed]);
  });

  it('judge the wait under a slow dependency by how much it grows', () => {
    const slow = (step: number, p99Ms: number) => [outcome(step, 'none'), outcome(step, 'slow', { p99Ms })];
    const claim = (outcomes: Outcome[]) => judged(...outcomes).at(-1);
    expect(claim([...slow(3, 6000), ...slow(4, 25)])).toBe(true);
    expect(claim([...slow(3, 6000), ...slow(4, 220)])).toBe(false);
    expect(claim(slow(3, 20))).toBe(false);
  });
});

describe('The tables', () => {
  const report: Report = {
    ...{ date: '2026-11-24T00:00:00.000Z', isQuick: true, seconds: 60, callsPerRide: {}, failingProbability: 0.01 },
    machine: { cpu: 'a cpu', cores: 2, memoryGiB: 8, node: 'v20.0.0' },
    steps: [
      { number: 0, title: 'legacy' },
      { number: 5, title: 'outbox' },
    ],
    faults: [
      { name: 'none', title: 'nothing is wrong' },
      { name: 'twice', title: 'every message arrives twice' },
    ],
    outcomes: [
      outcome(0, 'none'),
      outcome(5, 'none'),
      outcome(5, 'twice', { answered: 99, duplicated: 48, p99Ms: 1234 }),
    ],
    inapplicable: [{ step: 0, fault: 'twice', why: 'it has no messages' }],
    expectations: [{ claim: 'Things happen twice', isConfirmed: false, measured: 'once' }],
  };

  it('show every step under every fault, and why one could not have it', () => {
    const table = terminalTable(report);
    expect(table).toMatch(/5 outbox +99 of 100 +5\.0 ms +1\.2 s +0 +0 +48 +0\n/);
    expect(table).toMatch(/\n {2}0 +– +it has no messages/);
    expect(table).toMatch(/NOT CONFIRMED Things happen twice\n +once/);
  });

  it('have a line for each step in a README', () => {
    expect(markdownTable(report).split('\n')).toEqual([
      '| step | wait, p50 | messages twice: effects doubled |',
      '| --- | --: | --: |',
      '| 0 legacy | 5.0 ms | – |',
      '| 5 outbox | 5.0 ms | 48 |',
    ]);
  });
});

describe('npm run workshop', () => {
  it('runs the lab, and writes what it counted', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'workshop-lab-'));
    const [json, html] = [join(folder, 'lab.json'), join(folder, 'lab.html')];
    const words = ['--quick', '--steps', '1,5-6', '--faults', 'failing,twice', '--json', json, '--html', html];
    const { code, stdout } = await workshop('lab', ...words);
    expect(code).toBe(0);
    const report = JSON.parse(readFileSync(json, 'utf8')) as Report;
    const of = (step: number, fault: string) => report.outcomes.find((it) => it.step === step && it.fault === fault)!;
    expect(report.callsPerRide[1]).toBe(12);
    // 300 rides of which 0.99^12 = 88.6 % succeed: outside of 76 to 97 % once in a thousand million runs.
    expect(of(1, 'failing').answered / 300).toBeGreaterThan(0.76);
    expect(of(1, 'failing').answered / 300).toBeLessThan(0.97);
    expect(of(1, 'failing').stuck).toBeGreaterThan(0);
    expect(of(5, 'twice')).toMatchObject({ answered: 24, lost: 0, missing: 0, duplicated: 48, rested: true });
    expect(of(6, 'twice')).toMatchObject({ answered: 24, lost: 0, missing: 0, duplicated: 0, rested: true });
    expect(report.inapplicable).toHaveLength(3);
    expect(stdout).toContain('CONFIRMED     What arrives twice happens twice');
    expect(readFileSync(html, 'utf8')).toContain('outbox');
  }, 120_000);

  it.each([
    [['lab', '--steps', '9'], '--steps takes numbers'],
    [['lab', '--faults', 'fire'], 'There is no fault fire'],
    [['start', '12'], 'Steps are numbers from 0 to 8, not 12'],
    [['start'], 'Steps are numbers'],
    [['diff', '3'], 'Steps are numbers'],
    [['exercise', '6'], 'Exercises are numbers from 1 to 5'],
    [['dance'], 'There is no command dance'],
    [['toString'], 'There is no command toString'],
    [['lab', '--loud'], '--loud'],
    [['start', '0', '--port', 'x'], '--port x is no port'],
  ])('refuses %j and tells how it is used', async (words, says) => {
    const { code, stderr } = await workshop(...words);
    expect(code).toBe(1);
    expect(stderr).toContain(says);
    expect(stderr).toContain('npm run workshop shows what there is');
  });

  it('shows what changes between steps: to a mesh a sidecar, to a broker the processes only', async () => {
    const changed = async (from: number, to: number) =>
      [
        ...(await workshop('diff', String(from), String(to))).stdout.matchAll(
          /^diff --git \S+ (?:\d-[a-z-]+)\/(\S+)$/gm,
        ),
      ].map(([, file]) => file);
    expect(await changed(1, 2)).toEqual(['processes.ts', 'sidecar.ts']);
    expect(await changed(4, 5)).toEqual(['messages.ts']);
    expect(await changed(6, 7)).toEqual(['processes.ts']);
    expect(await changed(7, 8)).toEqual(['processes.ts']);
  }, 60_000);
});
