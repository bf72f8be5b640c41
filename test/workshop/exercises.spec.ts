import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { examine, type Finding } from '../../workshop/exercises/check.js';
import { layOut } from '../../workshop/exercises/workspace.js';
import { EXERCISES, type Exercise } from '../../workshop/exercises/exercises.js';

/** What the start of each exercise is found wanting of. */
const WANTING: Record<number, { stage: string; says: RegExp }> = {
  1: { stage: 'architecture', says: /There is no rides\/contract\.ts/ },
  2: { stage: 'fault', says: /With invoicing 200 ms slower, users wait for .+: they still wait for the invoice/ },
  3: { stage: 'fault', says: /After an outage of invoicing, .+ effects that are missing: [1-9]/ },
  4: { stage: 'fault', says: /Every message came twice, and 12 rides got 24 invoices and credits of miles too many/ },
  5: { stage: 'architecture', says: /LoyaltyModule has no @MeshFeature/ },
};

/** On a desk of its own: workshop/mine may hold somebody's work. */
async function examined(
  exercise: Exercise,
  which: 'start' | 'solution',
  spoil: (desk: string) => void = () => undefined,
) {
  const folder = `trial-${exercise.number}-${which}`;
  const desk = join(ROOT, 'workshop', folder);
  layOut(exercise[which], desk);
  spoil(desk);
  try {
    return await examine(exercise, folder);
  } finally {
    rmSync(desk, { recursive: true });
  }
}

describe.each(EXERCISES.map((exercise) => ({ exercise, name: `${exercise.number}, ${exercise.title}` })))(
  'Exercise $name',
  ({ exercise }) => {
    let atStart: Finding[];
    let bySolution: Finding[];
    // At the same time: most of it is waiting for what users wait for.
    beforeAll(async () => {
      [atStart, bySolution] = await Promise.all([examined(exercise, 'start'), examined(exercise, 'solution')]);
    }, 180_000);

    it('is not done at its start, and it is said why', () => {
      const { stage, says } = WANTING[exercise.number]!;
      expect(atStart[0]).toMatchObject({ stage });
      expect(atStart[0]!.says.join('\n')).toMatch(says);
    });

    it('is done by its solution', () => {
      expect(bySolution).toEqual([]);
    });
  },
);

type Mistake = [mistake: string, number: number, file: string, edit: (text: string) => string, says: RegExp];

/** What people do at first, as an edit of the solution: what is moved, to where, and what is said of it. */
const MISTAKES: Mistake[] = [
  [
    'the invoice behind the commit',
    1,
    'rides/complete-transit.ts',
    (text) => {
      const [invoice] = /^ *await this\.commands\.execute\(new IssueInvoice.*\n/m.exec(text)!;
      const behind = invoice.replace(
        'amount: price, subjectName: clientName',
        'amount: transit.price!, subjectName: transit.clientName',
      );
      return text.replace(invoice, '').replace(/^ {4}}\);\n/m, (end) => end + behind);
    },
    /While invoicing was down, rides were left half done \([1-9]/,
  ],
  [
    'a row that is removed before it is handed over',
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
    /It does not answer within 15 s: does something loop\?/,
  ],
];

/** The solution of an exercise with a mistake in it. @returns what is said of it */
async function examinedWith([, number, file, edit]: Mistake): Promise<string | undefined> {
  const exercise = EXERCISES.find((it) => it.number === number)!;
  const [finding] = await examined(exercise, 'solution', (desk) => {
    const before = readFileSync(join(desk, file), 'utf8');
    const after = edit(before);
    expect(after).not.toBe(before);
    writeFileSync(join(desk, file), after);
  });
  return finding?.says.join('\n');
}

describe('A check', () => {
  let said: (string | undefined)[];
  beforeAll(async () => {
    said = await Promise.all(MISTAKES.map(examinedWith));
  }, 240_000);

  it.each(MISTAKES.map(([mistake, number, , , says], index) => ({ mistake, number, says, index })))(
    'sees $mistake (exercise $number)',
    ({ says, index }) => expect(said[index]).toMatch(says),
  );
});
