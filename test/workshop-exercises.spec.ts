import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../tools/source.js';
import { examine } from '../workshop/exercises/check.js';
import { layOut } from '../workshop/exercises/desk.js';
import { EXERCISES, type Exercise } from '../workshop/exercises/exercises.js';

/** What the start of each exercise is found wanting of. */
const WANTING: Record<number, { stage: string; says: RegExp }> = {
  1: { stage: 'architecture', says: /There is no rides\/contract\.ts/ },
  2: { stage: 'fault', says: /With invoicing 200 ms slower, users wait for .+: they still wait for the invoice/ },
  3: { stage: 'fault', says: /After an outage of invoicing, .+ effects that are missing: [1-9]/ },
  4: { stage: 'fault', says: /Every message came twice, and 12 rides got 24 invoices and credits of miles too many/ },
  5: { stage: 'architecture', says: /LoyaltyModule has no @OnMesh/ },
};

/** On a desk of its own: workshop/mine may hold somebody's work. */
async function examined(
  exercise: Exercise,
  folders: readonly string[],
  spoil: (desk: string) => void = () => undefined,
) {
  const folder = `trial-${exercise.number}`;
  const desk = join(ROOT, 'workshop', folder);
  layOut(folders, desk);
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
    it('is not done at its start, and it is said why', async () => {
      const { stage, says } = WANTING[exercise.number]!;
      const [finding] = await examined(exercise, exercise.start);
      expect(finding).toMatchObject({ stage });
      expect(finding!.says.join('\n')).toMatch(says);
    }, 120_000);

    it('is done by its solution', async () => {
      expect(await examined(exercise, exercise.solution)).toEqual([]);
    }, 120_000);
  },
);

/** What people do at first, as an edit of the solution: what is moved, to where, and what is said of it. */
const MISTAKES: [mistake: string, number: number, file: string, edit: (text: string) => string, says: RegExp][] = [
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

describe('A check', () => {
  it.each(MISTAKES)(
    'sees %s (exercise %i)',
    async (_, number, file, edit, says) => {
      const exercise = EXERCISES.find((it) => it.number === number)!;
      const [finding] = await examined(exercise, exercise.solution, (desk) => {
        const before = readFileSync(join(desk, file), 'utf8');
        const after = edit(before);
        expect(after).not.toBe(before);
        writeFileSync(join(desk, file), after);
      });
      expect(finding?.says.join('\n')).toMatch(says);
    },
    240_000,
  );
});
