import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { examine, type Finding } from '../../workshop/exercises/check.js';
import { EXERCISES, type Exercise } from '../../workshop/exercises/exercises.js';
import { copyInto } from '../../workshop/exercises/workspace.js';
import type { Outcome } from '../../workshop/lab/report.js';
import { IS_THOROUGH } from '../support/thorough.js';

/** What the check finds at the start of each exercise. */
const AT_START: Record<number, { phase: string; says: RegExp }> = {
  1: { phase: 'architecture', says: /There is no rides\/contract\.ts/ },
  2: { phase: 'fault', says: /With invoicing 200 ms slower, users wait for .+: they still wait for the invoice/ },
  3: { phase: 'fault', says: /After an outage of invoicing, .+ effects that are missing: [1-9]/ },
  4: {
    phase: 'fault',
    says: /Every message arrived twice, and 12 rides got 24 invoices and credits of miles too many/,
  },
  5: { phase: 'architecture', says: /LoyaltyModule has no @MeshFeature/ },
};

/** Checks a copy in a folder of its own: workshop/mine may hold a developer's work. */
async function examined(
  exercise: Exercise,
  which: 'start' | 'solution',
  edit: (folder: string) => void = () => undefined,
) {
  const folder = `check-${exercise.number}-${which}`;
  const path = join(ROOT, 'workshop', folder);
  copyInto(exercise[which], path);
  edit(path);
  try {
    return await examine(exercise, folder);
  } finally {
    rmSync(path, { recursive: true });
  }
}

describe.each(EXERCISES.map((exercise) => ({ exercise, name: `${exercise.number}, ${exercise.title}` })))(
  'Exercise $name',
  ({ exercise }) => {
    /** The checks of the others run processes under a fault before they say why. */
    const isStartTested = IS_THOROUGH || [1, 5].includes(exercise.number);
    let atStart: Finding[];
    let bySolution: Finding[];
    // In parallel: most of the time the checks wait for timers.
    beforeAll(async () => {
      const starts = isStartTested ? examined(exercise, 'start') : [];
      [atStart, bySolution] = await Promise.all([starts, examined(exercise, 'solution')]);
    }, 600_000);

    (isStartTested ? it : it.skip)('is not done at its start, and the check says why', () => {
      const { phase, says } = AT_START[exercise.number]!;
      expect(atStart[0]).toMatchObject({ phase });
      expect(atStart[0]!.problems.join('\n')).toMatch(says);
    });

    it('is done with its solution', () => {
      expect(bySolution).toEqual([]);
    });
  },
);

type Mistake = [mistake: string, number: number, file: string, edit: (text: string) => string, says: RegExp];

/** Typical mistakes, each as an edit of the solution and what the check says. */
const MISTAKES: Mistake[] = [
  [
    'an invoice that is written after the commit',
    1,
    'rides/complete-transit.ts',
    (text) => {
      const [invoice] = /^ *await this\.commands\.execute\(new IssueInvoice.*\n/m.exec(text)!;
      const afterwards = invoice.replace(
        'amount: price, subjectName: clientName',
        'amount: transit.price!, subjectName: transit.clientName',
      );
      return text.replace(invoice, '').replace(/^ {4}}\);\n/m, (end) => end + afterwards);
    },
    /While invoicing was down, rides were left half done \([1-9]/,
  ],
  [
    'a row that is deleted before its message is handled',
    3,
    'messages.ts',
    (text) => {
      const [remove] = /^ *await this\.transactions\.run\(.*DELETE FROM outbox.*\n/m.exec(text)!;
      return text.replace(remove, '').replace(/^ *await this\.deliver\(.*\n/m, (deliver) => remove + deliver);
    },
    /After an outage of invoicing, .+ effects that are missing: [1-9]/,
  ],
  [
    'a handler that loops for ever',
    2,
    'rides/complete-transit.ts',
    (text) =>
      text.replace('    return this.transactions.run(', '    for (;;) void 0;\n    return this.transactions.run('),
    /The step did not answer within 15 s\. Does something loop\?/,
  ],
];

/** Checks the solution of an exercise with a mistake in it. @returns what the check says */
async function examinedWith([, number, file, edit]: Mistake): Promise<string | undefined> {
  const exercise = EXERCISES.find((it) => it.number === number)!;
  const [finding] = await examined(exercise, 'solution', (folder) => {
    const before = readFileSync(join(folder, file), 'utf8');
    const after = edit(before);
    expect(after).not.toBe(before);
    writeFileSync(join(folder, file), after);
  });
  return finding?.problems.join('\n');
}

(IS_THOROUGH ? describe : describe.skip)('A check', () => {
  let said: (string | undefined)[];
  beforeAll(async () => {
    said = await Promise.all(MISTAKES.map(examinedWith));
  }, 600_000);

  it.each(MISTAKES.map(([mistake, number, , , says], index) => ({ mistake, number, says, index })))(
    'sees $mistake (exercise $number)',
    ({ says, index }) => expect(said[index]).toMatch(says),
  );
});

describe('The waits of exercise 2', () => {
  const { judgeWait } = EXERCISES[1]!;
  const outcome = (prompt: number, p50Ms: number) => ({ requests: 20, prompt, p50Ms }) as Outcome;

  it('are too long when users wait for invoicing', () => {
    expect(judgeWait!(outcome(0, 4000), outcome(20, 5))).toMatch(
      /^With invoicing 200 ms slower, users wait for 4\.0 s/,
    );
    // The machine is busy, but then some users would be prompt.
    expect(judgeWait!(outcome(0, 4000), outcome(5, 300))).toMatch(/^With invoicing 200 ms slower/);
    expect(judgeWait!(outcome(3, 4000), outcome(20, 5))).toMatch(/^With invoicing 200 ms slower/);
  });

  it('are short enough when half of the users are answered before a slow invoicing could answer', () => {
    expect(judgeWait!(outcome(10, 150), outcome(20, 5))).toBeUndefined();
    expect(judgeWait!(outcome(10, 150), outcome(0, 900))).toBeUndefined();
  });

  it('are not measurable when users wait as long without a fault', () => {
    expect(judgeWait!(outcome(9, 250), outcome(9, 260))).toMatch(/^NOT MEASURABLE: this machine is too busy\./);
    expect(judgeWait!(outcome(0, 900), outcome(0, 900))).toMatch(/^NOT MEASURABLE/);
  });
});
