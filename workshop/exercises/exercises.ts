import { join } from 'node:path';
import { contractsOnly, messagesOf, ownPrefix } from '../../tools/architecture.js';
import { ROOT, type Sources } from '../../tools/source.js';
import { FAULTS, SLOW_MS, type Size } from '../lab/faults.js';
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
  /** The fault that shows whether it is done. */
  readonly fault: (typeof FAULTS)[number];
  /** @returns what is wrong, in a sentence */
  readonly judge: (outcome: Outcome) => string | undefined;
}

/** The size of a check: a few seconds. */
export const SMALL: Size = { none: 20, slow: 20, failing: 100, twice: 12, broker: 20, kills: 2 };

/** The modules that the method is to be split into. */
const MODULES = ['rides', 'geolocation', 'drivers', 'loyalty', 'invoicing'];

const inExercises = (...names: string[]) => join(ROOT, 'workshop/exercises', ...names);
const inStep = (number: number) => join(ROOT, 'workshop', STEPS[number]!.folder);
const fault = (name: string) => FAULTS.find((it) => it.name === name)!;
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
    fault: fault('killed'),
    judge: ({ lost, missing }) =>
      lost + missing > 0
        ? `After a crash ${missing} effects of completed rides are missing: all of it has to stay in one transaction for now.`
        : undefined,
  },
  {
    number: 2,
    folder: '2-commands-and-queries',
    title: 'put commands and queries apart',
    start: [inStep(3)],
    solution: [inStep(4)],
    step: mine(4),
    rules: (sources) => [...modulesThere(sources), ...onlyContracts(sources)],
    fault: fault('slow'),
    judge: ({ p50Ms, answered, requests, missing }) => {
      if (answered < requests) return `Only ${answered} of ${requests} users were told that their ride is over.`;
      if (p50Ms > SLOW_MS / 2)
        return `With invoicing ${SLOW_MS} ms slower, users wait for ${duration(p50Ms)}: they still wait for the invoice.`;
      return missing > 0
        ? `${missing} effects of completed rides never came: something is sent that nobody handles.`
        : undefined;
    },
  },
  {
    number: 3,
    folder: '3-outbox',
    title: 'write the outbox',
    start: [inStep(4)],
    solution: [inStep(5)],
    // Whatever the table is called: it has come to rest when nothing is committed any more.
    step: mine(5, { waiting: {} }),
    rules: (sources) => onlyContracts(sources),
    fault: fault('killed'),
    judge: ({ lost, missing, stuck }) =>
      lost + missing + stuck > 0
        ? `After a crash ${lost} rides whose users were told that all is well are not completed, and ${missing} effects are missing: what was still to be done was nowhere but in memory.`
        : undefined,
  },
  {
    number: 4,
    folder: '4-idempotent-handler',
    title: 'make a handler idempotent',
    start: [inStep(5)],
    solution: [inStep(5), inExercises('4-idempotent-handler/solution')],
    step: mine(5),
    rules: (sources) => onlyContracts(sources),
    fault: fault('twice'),
    judge: ({ requests, duplicated, missing }) => {
      if (duplicated > 0)
        return `Every message came twice, and ${requests} rides got ${duplicated} invoices and credits of miles too many.`;
      return missing > 0
        ? `Nothing is doubled, but ${missing} effects are missing: some messages are not handled even once.`
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
    fault: fault('killed'),
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
  const module = sources.get('loyalty/loyalty.module.ts') ?? '';
  if (!/@OnMesh\(/.test(module)) return ['LoyaltyModule has no @OnMesh: the mesh does not know that it is there.'];
  const own = messagesOf(asModules(sources)).map(({ name }) => name);
  return own.map((name) => `${name} is declared anew: rides sends the one of src/modules/loyalty/contract.ts.`);
}
