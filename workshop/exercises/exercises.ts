import { join } from 'node:path';
import { messagesOf } from '../../tools/architecture/messages.js';
import { contractsOnly } from '../../tools/architecture/modules.js';
import { ownPrefix } from '../../tools/architecture/tables.js';
import { ROOT, type Sources } from '../../tools/source.js';
import { FAULTS, SLOW_MS, type Fault, type Size } from '../lab/faults.js';
import type { Outcome } from '../lab/lab.js';
import { duration } from '../lab/table.js';
import { STEPS, type Step } from '../runner/steps.js';

/** Something to be done by hand: where one begins, how one sees that it is done, and one way of doing it. */
export interface Exercise {
  readonly number: number;
  /** Under workshop/exercises/: its page, its hints, and what differs from a step. */
  readonly folder: string;
  readonly title: string;
  /** Folders that are laid over one another: the last one's files count. */
  readonly start: readonly string[];
  readonly solution: readonly string[];
  /** What the lab has to know of what is in workshop/mine. */
  readonly step: Step;
  /** What is wrong with the architecture, in sentences. Paths are those of workshop/mine. */
  readonly rules: (sources: Sources) => string[];
  /** The faults that show whether it is done. */
  readonly faults: readonly Fault[];
  /** @returns what is wrong, in a sentence */
  readonly judge: (outcome: Outcome) => string | undefined;
  /** The same of how long users wait, which is compared with the same load while nothing is wrong. */
  readonly judgeWait?: (outcome: Outcome, healthy: Outcome) => string | undefined;
}

/** The size of a check: a few seconds. */
export const SMALL: Size = {
  ...{ none: 20, slow: 20, failing: 100, twice: 12, broker: 20, kills: 3 },
  ...{ outageMs: 1500, aroundMs: 250 },
};

/** The modules that the method is to be split into. */
const MODULES = ['rides', 'geolocation', 'drivers', 'loyalty', 'invoicing'];

const inExercises = (...names: string[]) => join(ROOT, 'workshop/exercises', ...names);
const inStep = (number: number) => join(ROOT, 'workshop', STEPS[number]!.folder);
const faults = (...names: string[]) => names.map((name) => FAULTS.find((it) => it.name === name)!);
export const [HEALTHY] = faults('none') as [Fault];
/** What is in workshop/mine is known by that name. */
const mine = (number: number, differs: Partial<Step> = {}): Step => ({ ...STEPS[number]!, folder: 'mine', ...differs });

export const EXERCISES: readonly Exercise[] = [
  {
    number: 1,
    folder: '1-split-into-modules',
    title: 'split the method into modules',
    start: [inStep(0)],
    solution: [inStep(3)],
    step: mine(3),
    rules: (sources) => [...modulesThere(sources), ...tablesAtHome(sources), ...onlyContracts(sources)],
    faults: faults('down', 'killed'),
    judge: ({ fault, answered, requests, lost, missing }) => {
      const so = fault === 'down' ? 'While invoicing was down' : 'After a crash';
      if (lost + missing > 0)
        return `${so}, rides were left half done (${missing} effects of completed rides are missing): for now all of it has to stay in one transaction.`;
      return fault === 'down' && answered === requests
        ? 'While invoicing was down nobody was refused: accounting has to be asked before an invoice is written, as it was.'
        : undefined;
    },
  },
  {
    number: 2,
    folder: '2-commands-and-queries',
    title: 'put commands and queries apart',
    start: [inStep(3)],
    solution: [inStep(4)],
    step: mine(4),
    rules: (sources) => [...modulesThere(sources), ...onlyContracts(sources)],
    faults: faults('slow'),
    judge: ({ answered, requests, missing }) => {
      if (answered < requests) return `Only ${answered} of ${requests} users were told that their ride is over.`;
      return missing > 0
        ? `${missing} effects of completed rides never came: something is sent that nobody handles.`
        : undefined;
    },
    judgeWait: ({ p50Ms }, healthy) =>
      p50Ms - healthy.p50Ms > SLOW_MS / 2
        ? `With invoicing ${SLOW_MS} ms slower, users wait for ${duration(p50Ms)} instead of ${duration(healthy.p50Ms)}: they still wait for the invoice, or for a transaction that is held open meanwhile.`
        : undefined,
  },
  {
    number: 3,
    folder: '3-outbox',
    title: 'write the outbox',
    start: [inStep(4)],
    solution: [inStep(5)],
    // Whatever the table is called: it has come to rest when nothing has been committed for longer than a retry waits.
    step: mine(5, { waiting: {}, quietMs: 3500 }),
    rules: (sources) => onlyContracts(sources),
    faults: faults('down', 'killed'),
    judge: ({ fault, lost, missing }) => {
      if (lost + missing === 0) return undefined;
      const so = fault === 'down' ? 'After an outage of invoicing' : 'After a crash';
      return `${so}, users were told that all is well, and yet rides that are not completed: ${lost}, effects that are missing: ${missing}. What was still to be done was nowhere but in memory, or was removed before it was done, or nobody went on with it.`;
    },
  },
  {
    number: 4,
    folder: '4-idempotent-handler',
    title: 'make a handler idempotent',
    start: [inStep(5)],
    solution: [inStep(5), inExercises('4-idempotent-handler/solution')],
    step: mine(5),
    rules: (sources) => onlyContracts(sources),
    faults: faults('twice', 'down'),
    judge: ({ requests, duplicated, missing }) => {
      if (duplicated > 0)
        return `Every message came twice, and ${requests} rides got ${duplicated} invoices and credits of miles too many.`;
      return missing > 0
        ? `Nothing is doubled, but ${missing} effects are missing: a message is taken for handled although its effects were never written.`
        : undefined;
    },
  },
  {
    number: 5,
    folder: '5-onto-the-mesh',
    title: 'move a module to the mesh',
    start: [inExercises('5-onto-the-mesh/start')],
    solution: [inExercises('5-onto-the-mesh/start'), inExercises('5-onto-the-mesh/solution')],
    step: mine(6),
    rules: (sources) => [...onTheMesh(sources), ...onlyContracts(sources)],
    faults: faults('killed'),
    judge: ({ lost, missing, duplicated }) =>
      lost + missing + duplicated > 0
        ? `After a crash ${lost} rides are lost, ${missing} effects are missing and ${duplicated} were doubled.`
        : undefined,
  },
];

/** As the rules of the application want to have them: mine/rides/fee.ts is src/modules/rides/fee.ts. */
function asModules(sources: Sources): Sources {
  return new Map(
    [...sources].map(([path, text]) => [path.includes('/') ? `src/modules/${path}` : `src/${path}`, text]),
  );
}

function ofMine(problems: readonly string[]): string[] {
  return problems.map((it) => it.replace(/^src\/(modules\/)?/, ''));
}

function modulesThere(sources: Sources): string[] {
  return MODULES.filter((name) => !sources.has(`${name}/contract.ts`)).map(
    (name) => `There is no ${name}/contract.ts: what ${name} does for others is not said anywhere.`,
  );
}

function tablesAtHome(sources: Sources): string[] {
  const homeless = [...sources].filter(([path, text]) => !path.includes('/') && /@Entity\(/.test(text));
  const strays = homeless.map(
    ([path]) => `${path} still holds tables: each belongs to the module whose name it begins with.`,
  );
  return [...strays, ...ofMine(ownPrefix(asModules(sources)))];
}

function onlyContracts(sources: Sources): string[] {
  return ofMine(contractsOnly(asModules(sources)).filter((it) => !it.startsWith('src/app.module.ts')));
}

function onTheMesh(sources: Sources): string[] {
  const strays = [...sources].filter(([path, text]) => path.startsWith('loyalty/') && /shared\/transactions/.test(text));
  const module = sources.get('loyalty/loyalty.module.ts') ?? '';
  if (!/@MeshFeature\(/.test(module)) return ['LoyaltyModule has no @MeshFeature: the mesh does not know that it is there.'];
  const own = messagesOf(asModules(sources)).map(({ name }) => name);
  return [
    ...own.map((name) => `${name} is declared anew: rides sends the one of src/modules/loyalty/contract.ts.`),
    ...strays.map(([path]) => `${path} still opens transactions of its own: on the mesh there is a UnitOfWork.`),
  ];
}
