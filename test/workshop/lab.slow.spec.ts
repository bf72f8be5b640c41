import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { expectations } from '../../workshop/lab/expectations.js';
import { cpuInUse, noiseMs, TimerDelay } from '../../workshop/lab/noise.js';
import { effectsOf, isSettled } from '../../workshop/lab/outcomes.js';
import type { Outcome, Report } from '../../workshop/lab/report.js';
import { confidence, percentile } from '../../workshop/lab/statistics.js';
import { markdownTable, terminalTable } from '../../workshop/lab/table.js';
import { APPLICATION_FILES } from '../../workshop/runner/diff.js';

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
  step,
  fault,
  requests: 100,
  answered: 100,
  prompt: 100,
  p50Ms: 5,
  p99Ms: 10,
  timerDelayMs: 1,
  otherCpu: 0.05,
  lost: 0,
  missing: 0,
  duplicated: 0,
  stuck: 0,
  restMs: 700,
  rested: true,
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
  const settled = { isCompleted: true, hasFee: true, isDriverFree: true, miles: 1, invoices: 1 };

  it('distinguish missing from duplicated effects', () => {
    expect(effectsOf([settled])).toEqual({ missing: 0, duplicated: 0 });
    expect(effectsOf([{ ...settled, hasFee: false, invoices: 0 }])).toEqual({ missing: 2, duplicated: 0 });
    expect(effectsOf([{ ...settled, miles: 3, invoices: 2 }])).toEqual({ missing: 0, duplicated: 3 });
    // A ride that is not completed lacks no effects, and its first invoice is not a duplicate.
    expect(effectsOf([{ ...settled, isCompleted: false, isDriverFree: false }])).toEqual({ missing: 0, duplicated: 0 });
  });

  it('call a ride settled when it is completed and lacks no effect', () => {
    expect(isSettled(settled)).toBe(true);
    expect(isSettled({ ...settled, isCompleted: false })).toBe(false);
    expect(isSettled({ ...settled, miles: 0 })).toBe(false);
  });
});

describe('The claims', () => {
  const judged = (...outcomes: Outcome[]) =>
    expectations({ outcomes, callsPerRide: {}, failingProbability: 0.01 }).map(({ verdict }) => verdict);

  it.each<[string, Outcome[], boolean]>([
    ['ten times slower', [outcome(0, 'none'), outcome(1, 'none', { p50Ms: 50 })], true],
    ['only four times slower', [outcome(0, 'none'), outcome(1, 'none', { p50Ms: 20 })], false],
    ['as many successes as (1 - p)^12', [outcome(1, 'failing', { requests: 1000, answered: 886 })], true],
    ['more successes than that', [outcome(1, 'failing', { requests: 1000, answered: 990 })], false],
    ['an outage that is survived from step 4 on', [outcome(3, 'down', { answered: 38 }), outcome(4, 'down')], true],
    ['an outage in which step 7 refuses a user', [outcome(7, 'down', { answered: 99 })], false],
    ['an outage in which step 0 refuses no user', [outcome(0, 'down')], false],
    ['a crash that loses messages in memory only', [outcome(4, 'killed', { lost: 9 }), outcome(5, 'killed')], true],
    [
      'a crash that loses messages from an outbox',
      [outcome(4, 'killed', { lost: 9 }), outcome(5, 'killed', { missing: 1 })],
      false,
    ],
    ['a crash that loses no messages in memory either', [outcome(4, 'killed'), outcome(5, 'killed')], false],
    ['effects duplicated without an inbox only', [outcome(5, 'twice', { duplicated: 8 }), outcome(6, 'twice')], true],
    ['effects duplicated with the inbox of step 6', [outcome(6, 'twice', { duplicated: 1 })], false],
    ['effects duplicated by the application', [outcome(7, 'twice', { duplicated: 1 })], false],
    ['a broker whose crash loses nothing', [outcome(8, 'broker')], true],
    ['a broker whose crash loses a ride', [outcome(8, 'broker', { lost: 1 })], false],
  ])('judge %s', (_, outcomes, isConfirmed) => {
    expect(judged(...outcomes)).toEqual([isConfirmed ? 'confirmed' : 'not confirmed']);
  });

  it('judge the wait under a slow dependency by the users who were answered in less than it takes longer', () => {
    const slow = (step: number, prompt: number) => [outcome(step, 'none'), outcome(step, 'slow', { prompt })];
    const claim = (outcomes: Outcome[]) => judged(...outcomes).at(-1);
    expect(claim([...slow(3, 0), ...slow(4, 100)])).toBe('confirmed');
    expect(claim([...slow(3, 0), ...slow(4, 99)])).toBe('confirmed');
    expect(claim([...slow(3, 0), ...slow(4, 98)])).toBe('not confirmed');
    expect(claim([...slow(3, 0), ...slow(7, 40)])).toBe('not confirmed');
    expect(claim(slow(3, 1))).toBe('not confirmed');
  });
});

describe('On a noisy machine', () => {
  const claims = (...outcomes: Outcome[]) => expectations({ outcomes, callsPerRide: {}, failingProbability: 0.01 });
  /** Without a fault, one user in a hundred waited for 300 ms. */
  const noisy = (step: number) => outcome(step, 'none', { p99Ms: 300 });
  const slow = (step: number, prompt: number, timerDelayMs = 1) => outcome(step, 'slow', { prompt, timerDelayMs });
  const busy = { timerDelayMs: 80 };

  it('the noise of a step is the spread of its waits without a fault, or the delay of the timers', () => {
    expect(noiseMs([outcome(4, 'none', { p50Ms: 5, p99Ms: 65 })])).toBe(60);
    expect(noiseMs([outcome(4, 'none'), outcome(4, 'slow', busy)])).toBe(80);
    // Under a fault the waits differ because of the fault.
    expect(noiseMs([outcome(4, 'none'), outcome(4, 'slow', { p99Ms: 9000 })])).toBe(5);
    expect(noiseMs([])).toBe(0);
  });

  it('the delay of timers is measured while the process is blocked', async () => {
    const timerDelay = new TimerDelay();
    await new Promise((resolve) => setTimeout(resolve, 30));
    for (const until = performance.now() + 120; performance.now() < until;);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(timerDelay.stop()).toBeGreaterThan(80);
  });

  it('the CPU in use is a share, and grows while a process computes', async () => {
    const busy = cpuInUse();
    for (const until = performance.now() + 400; performance.now() < until;);
    const share = await busy;
    // At least about one of the cores.
    expect(share).toBeGreaterThan(0.5 / cpus().length);
    expect(share).toBeLessThanOrEqual(1);
  });

  it('a busy CPU makes claims about waits not measurable, in both directions', () => {
    const shared = { otherCpu: 0.6 };
    const split = outcome(1, 'none', { ...shared, p50Ms: 60, p99Ms: 90 });
    const [claim] = claims(outcome(0, 'none'), split);
    expect(claim!.verdict).toBe('not measurable');
    expect(claim!.measured).toMatch(/12\.0 times.+ other programs use 60\s% of the CPU, and 25\s% is the limit$/);
    expect(claims(outcome(4, 'slow', { ...shared, prompt: 60 }))[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(4, 'slow', shared))[0]!.verdict).toBe('confirmed');
    expect(claims(outcome(3, 'slow', { ...shared, prompt: 1 }))[0]!.verdict).toBe('not confirmed');
    expect(claims(outcome(4, 'killed', shared))[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(5, 'twice', shared))[0]!.verdict).toBe('not confirmed');
  });

  it('a wait that is too long is not measurable, and the figure says why', () => {
    const [claim] = claims(noisy(4), slow(4, 60)).slice(-1);
    expect(claim!.verdict).toBe('not measurable');
    expect(claim!.measured).toContain('step 4: 60 of 100. This machine is too noisy: it delays by up to 295 ms');
    expect(claim!.measured).toContain('50 ms is the limit');
    expect(claims(outcome(4, 'none'), slow(4, 60, 80)).at(-1)!.verdict).toBe('not measurable');
  });

  it('a claim that holds is confirmed all the same: noise only makes waits longer', () => {
    expect(claims(noisy(4), slow(4, 100)).at(-1)!.verdict).toBe('confirmed');
  });

  it('a user who is answered too early refutes the claim all the same', () => {
    expect(claims(noisy(3), slow(3, 1)).at(-1)!.verdict).toBe('not confirmed');
    expect(claims(noisy(3), slow(3, 1), noisy(4), slow(4, 60)).at(-1)!.verdict).toBe('not confirmed');
  });

  it('a step that was measured without noise is judged, even if others were noisy', () => {
    expect(claims(noisy(4), slow(4, 60), outcome(5, 'none'), slow(5, 60)).at(-1)!.verdict).toBe('not confirmed');
  });

  it('the ratio of two steps is not measurable', () => {
    const split = outcome(1, 'none', { p50Ms: 20, p99Ms: 60 });
    expect(claims(noisy(0), split)[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(0, 'none', busy), split)[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(0, 'none'), { ...split, ...busy, p50Ms: 100 })[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(0, 'none'), { ...split, p99Ms: 101 })[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(0, 'none'), split)[0]!.verdict).toBe('not confirmed');
  });

  it('a kill that comes too late to interrupt anything is not measurable; losses from an outbox count', () => {
    expect(claims(outcome(4, 'killed', busy))[0]!.verdict).toBe('not measurable');
    expect(claims(outcome(4, 'killed', { ...busy, lost: 1 }))[0]!.verdict).toBe('confirmed');
    expect(claims(outcome(5, 'killed', { ...busy, lost: 1 }))[0]!.verdict).toBe('not confirmed');
    expect(claims(outcome(4, 'killed', busy), outcome(5, 'killed', { missing: 1 }))[0]!.verdict).toBe('not confirmed');
  });

  it('counts are judged as on a quiet one', () => {
    expect(claims(outcome(5, 'twice', busy))[0]!.verdict).toBe('not confirmed');
    expect(claims(outcome(4, 'down', { ...busy, answered: 99 }))[0]!.verdict).toBe('not confirmed');
  });
});

describe('The tables', () => {
  const report: Report = {
    date: '2026-11-24T00:00:00.000Z',
    isQuick: true,
    seconds: 60,
    callsPerRide: {},
    failingProbability: 0.01,
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
    inapplicable: [{ step: 0, fault: 'twice', why: 'it stores no messages' }],
    expectations: [
      { claim: 'Things happen twice', verdict: 'not confirmed', measured: 'once' },
      { claim: 'Users wait', verdict: 'not measurable', measured: 'This machine is too noisy' },
    ],
  };

  it('show every step under every fault, and why a step can not have a fault', () => {
    const table = terminalTable(report);
    expect(table).toMatch(/5 outbox +99 of 100 +5\.0 ms +1\.2 s +0 +0 +48 +0\n/);
    expect(table).toMatch(/\n {2}0 +– +it stores no messages/);
    expect(table).toMatch(/NOT CONFIRMED +Things happen twice\n +once/);
    expect(table).toMatch(/NOT MEASURABLE +Users wait\n +This machine is too noisy/);
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
    const words = ['--quick', '--steps', '1,5-7', '--faults', 'failing,twice', '--json', json, '--html', html];
    const { code, stdout } = await workshop('lab', ...words);
    expect(code).toBe(0);
    const report = JSON.parse(readFileSync(json, 'utf8')) as Report;
    const of = (step: number, fault: string) => report.outcomes.find((it) => it.step === step && it.fault === fault)!;
    expect(report.callsPerRide[1]).toBe(12);
    // 300 rides of which 0.99^12 = 88.6 % succeed: outside of 76 to 97 % in one run of a billion.
    expect(of(1, 'failing').answered / 300).toBeGreaterThan(0.76);
    expect(of(1, 'failing').answered / 300).toBeLessThan(0.97);
    expect(of(1, 'failing').stuck).toBeGreaterThan(0);
    expect(of(5, 'twice')).toMatchObject({ answered: 24, lost: 0, missing: 0, duplicated: 48, rested: true });
    expect(of(6, 'twice')).toMatchObject({ answered: 24, lost: 0, missing: 0, duplicated: 0, rested: true });
    expect(of(7, 'twice')).toMatchObject({ answered: 24, lost: 0, missing: 0, duplicated: 0, rested: true });
    expect(report.inapplicable).toHaveLength(4);
    expect(stdout).toMatch(/^CONFIRMED +A message that arrives twice has its effects twice/m);
    expect(readFileSync(html, 'utf8')).toContain('outbox');
  }, 600_000);

  it.each([
    [['lab', '--steps', '10'], '--steps takes numbers from 0 to 9'],
    [['lab', '--faults', 'fire'], 'There is no fault fire'],
    [['start', '12'], 'Steps are numbers from 0 to 9, not 12'],
    [['start'], 'Steps are numbers'],
    [['diff', '3'], 'Steps are numbers'],
    [['exercise', '6'], 'Exercises are numbers from 1 to 5'],
    [['dance'], 'There is no command dance'],
    [['toString'], 'There is no command toString'],
    [['lab', '--loud'], '--loud'],
    [['start', '0', '--port', 'x'], '--port takes a number from 1 to 65500, not x'],
  ])('refuses %j and says where the commands are listed', async (words, says) => {
    const { code, stderr } = await workshop(...words);
    expect(code).toBe(1);
    expect(stderr).toContain(says);
    expect(stderr).toContain('npm run workshop shows the commands');
  });

  it('shows what changes between steps', async () => {
    const changed = async (from: number, to: number) =>
      [
        ...(await workshop('diff', String(from), String(to))).stdout.matchAll(
          /^diff --git \S+ (?:\d-[a-z-]+)\/(\S+)$/gm,
        ),
      ].map(([, file]) => file);
    expect(await changed(1, 2)).toEqual(['processes.ts', 'sidecar.ts']);
    expect(await changed(5, 6)).toEqual([
      'inbox.ts',
      'invoicing/issue-invoice.ts',
      'loyalty/register-miles.ts',
      'messages.ts',
      'rides/settle-transit.ts',
    ]);
    expect(await changed(8, 9)).toEqual(['processes.ts']);
  }, 180_000);

  it('compares step 6 with files of the application that exist', async () => {
    const missing = Object.values(APPLICATION_FILES).filter((path) => !existsSync(join(ROOT, path)));
    expect(missing).toEqual([]);
    const { code, stdout } = await workshop('diff', '6', '7');
    expect(code).toBe(0);
    expect(stdout).toContain('7-application/infrastructure/outbox.ts');
  }, 120_000);
});
