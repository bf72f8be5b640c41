import { join } from 'node:path';
import { messagesOf } from '../../tools/architecture/messages.js';
import { contractsOnly } from '../../tools/architecture/modules.js';
import { ownPrefix } from '../../tools/architecture/tables.js';
import { ROOT, type Sources } from '../../tools/source.js';
import { FAULTS, SLOW_MS, type Fault, type Size } from '../lab/faults.js';
import { duration } from '../lab/format.js';
import type { Outcome } from '../lab/report.js';
import { stepNamed, type Step } from '../runner/steps.js';

/** An exercise: its start, one solution, and how a solution is checked. */
export interface Exercise {
  readonly number: number;
  /** Under workshop/exercises/: the page, the hints, and the files that no step has. */
  readonly folder: string;
  readonly title: string;
  /** Folders whose files are copied one after the other, so that later ones win. */
  readonly start: readonly string[];
  readonly solution: readonly string[];
  /** What the lab needs to know about workshop/mine. */
  readonly step: Step;
  /** @returns violations of the architecture, in sentences. Paths are relative to workshop/mine. */
  readonly rules: (sources: Sources) => string[];
  /** The faults that a solution has to pass. */
  readonly faults: readonly Fault[];
  /** @returns what is wrong under a fault, in a sentence */
  readonly judge: (outcome: Outcome) => string | undefined;
  /** The same for the waits of the users, compared with the same load without a fault. */
  readonly judgeWait?: (outcome: Outcome, healthy: Outcome) => string | undefined;
}

/** The size of a check: some seconds. */
export const SMALL: Size = {
  none: 20,
  slow: 20,
  failing: 100,
  twice: 12,
  broker: 20,
  kills: 3,
  outageMs: 1500,
  aroundMs: 250,
};

/** The modules into which exercise 1 splits the method. */
const MODULES = ['rides', 'geolocation', 'drivers', 'loyalty', 'invoicing'];

const inExercises = (...names: string[]) => join(ROOT, 'workshop/exercises', ...names);
const inStep = (title: string) => join(ROOT, 'workshop', stepNamed(title).folder);
const faults = (...names: string[]) => names.map((name) => FAULTS.find((it) => it.name === name)!);
export const [HEALTHY] = faults('none') as [Fault];
/** The step that a solution is like, in workshop/mine. */
const mine = (title: string, differs: Partial<Step> = {}): Step => ({
  ...stepNamed(title),
  folder: 'mine',
  ...differs,
});

export const EXERCISES: readonly Exercise[] = [
  {
    number: 1,
    folder: '1-split-into-modules',
    title: 'split the method into modules',
    start: [inStep('legacy')],
    solution: [inStep('modules')],
    step: mine('modules'),
    rules: (sources) => [...missingModules(sources), ...misplacedTables(sources), ...onlyContracts(sources)],
    faults: faults('down', 'killed'),
    judge: ({ fault, answered, requests, lost, missing }) => {
      const when = fault === 'down' ? 'While invoicing was down' : 'After a crash';
      if (lost + missing > 0) {
        return `${when}, rides were left half done (${missing} effects of completed rides are missing). In this exercise everything stays in one transaction.`;
      }
      return fault === 'down' && answered === requests
        ? 'While invoicing was down, all requests succeeded. Report to accounting before the invoice is written, as the legacy does.'
        : undefined;
    },
  },
  {
    number: 2,
    folder: '2-commands-and-queries',
    title: 'separate commands and queries',
    start: [inStep('modules')],
    solution: [inStep('commands-and-queries')],
    step: mine('commands-and-queries'),
    rules: (sources) => [...missingModules(sources), ...onlyContracts(sources)],
    faults: faults('slow'),
    judge: ({ answered, requests, missing }) => {
      if (answered < requests) return `Only ${answered} of ${requests} users were answered with success.`;
      return missing > 0
        ? `${missing} effects of completed rides are missing: a message has no handler, or its handler fails.`
        : undefined;
    },
    judgeWait: ({ prompt, requests, p50Ms }, healthy) => {
      if (2 * prompt >= requests) return undefined;
      // A user who waits for invoicing is never prompt; a user who doesn't may be late on a busy machine.
      if (healthy.prompt === 0 || (prompt > 0 && 2 * healthy.prompt < healthy.requests)) {
        return `NOT MEASURABLE: this machine is too busy. Users wait for ${duration(healthy.p50Ms)} even without a fault. Stop other programs and check again.`;
      }
      return `With invoicing ${SLOW_MS} ms slower, users wait for ${duration(p50Ms)} instead of ${duration(healthy.p50Ms)}: they still wait for the invoice, or for a transaction that stays open meanwhile.`;
    },
  },
  {
    number: 3,
    folder: '3-outbox',
    title: 'write the outbox',
    start: [inStep('commands-and-queries')],
    solution: [inStep('outbox')],
    // The table may have any name, so the lab waits for longer than a retry may take (the page says 3 s).
    step: mine('outbox', { waiting: {}, quietMs: 3500 }),
    rules: (sources) => onlyContracts(sources),
    faults: faults('down', 'killed'),
    judge: ({ fault, lost, missing }) => {
      if (lost + missing === 0) return undefined;
      const when = fault === 'down' ? 'After an outage of invoicing' : 'After a crash';
      return `${when}, rides whose users were answered with success are not completed: ${lost}, effects that are missing: ${missing}. A message was only in memory, or its row was deleted before it was handled, or the relay did not retry it.`;
    },
  },
  {
    number: 4,
    folder: '4-idempotent-handler',
    title: 'make a handler idempotent',
    start: [inStep('outbox')],
    solution: [inStep('inbox')],
    step: mine('inbox'),
    rules: (sources) => onlyContracts(sources),
    faults: faults('twice', 'down'),
    judge: ({ requests, duplicated, missing }) => {
      if (duplicated > 0)
        return `Every message arrived twice, and ${requests} rides got ${duplicated} invoices and credits of miles too many.`;
      return missing > 0
        ? `Nothing is duplicated, but ${missing} effects are missing: a message counts as handled although its effects were never committed.`
        : undefined;
    },
  },
  {
    number: 5,
    folder: '5-onto-the-mesh',
    title: 'move a module to the mesh',
    start: [inExercises('5-onto-the-mesh/start')],
    solution: [inExercises('5-onto-the-mesh/start'), inExercises('5-onto-the-mesh/solution')],
    step: mine('application'),
    rules: (sources) => [...notOnTheMesh(sources), ...onlyContracts(sources)],
    faults: faults('killed'),
    judge: ({ lost, missing, duplicated }) =>
      lost + missing + duplicated > 0
        ? `After a crash, ${lost} rides are lost, ${missing} effects are missing and ${duplicated} are duplicated.`
        : undefined,
  },
];

/** Maps the paths of an exercise to those of the application, for which the rules are written. */
function asModules(sources: Sources): Sources {
  return new Map(
    [...sources].map(([path, text]) => [path.includes('/') ? `src/modules/${path}` : `src/${path}`, text]),
  );
}

function inMine(problems: readonly string[]): string[] {
  return problems.map((it) => it.replace(/^src\/(modules\/)?/, ''));
}

function missingModules(sources: Sources): string[] {
  return MODULES.filter((name) => !sources.has(`${name}/contract.ts`)).map(
    (name) => `There is no ${name}/contract.ts, which declares the commands and queries of ${name}.`,
  );
}

function misplacedTables(sources: Sources): string[] {
  const atTopLevel = [...sources].filter(([path, text]) => !path.includes('/') && /@Entity\(/.test(text));
  const misplaced = atTopLevel.map(
    ([path]) => `${path} still has entities: move each to the module with whose name its table begins.`,
  );
  return [...misplaced, ...inMine(ownPrefix(asModules(sources)))];
}

function onlyContracts(sources: Sources): string[] {
  return inMine(contractsOnly(asModules(sources)).filter((it) => !it.startsWith('src/app.module.ts')));
}

function notOnTheMesh(sources: Sources): string[] {
  const transactional = [...sources].filter(
    ([path, text]) => path.startsWith('loyalty/') && /shared\/transactions/.test(text),
  );
  const module = sources.get('loyalty/loyalty.module.ts') ?? '';
  if (!/@MeshFeature\(/.test(module))
    return ['LoyaltyModule has no @MeshFeature: the mesh does not know that it is there.'];
  const own = messagesOf(asModules(sources)).map(({ name }) => name);
  return [
    ...own.map((name) => `${name} is declared a second time: rides sends the one in src/modules/loyalty/contract.ts.`),
    ...transactional.map(([path]) => `${path} still opens transactions of its own: on the mesh, use the UnitOfWork.`),
  ];
}
