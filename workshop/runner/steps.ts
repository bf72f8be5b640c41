import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { OWNERS, type Owner } from '../shared/schema.js';
import type { Planned, ProcessPlanner } from './process-planner.js';

/** A step of the workshop: its folder, and what the runner and the lab need to know about it. */
export interface Step {
  readonly number: number;
  /** Under workshop/. */
  readonly folder: string;
  readonly title: string;
  /** The schema of its tables: that of the legacy, or that of the modules in src/. */
  readonly tables: 'legacy' | 'modules';
  /** The database that holds an owner's tables. */
  readonly database: (owner: Owner) => string;
  /** The name of the process that completes rides. */
  readonly completing: string;
  /** The name of the process that issues invoices. */
  readonly invoicing: string;
  readonly broker?: string;
  /** Paths of the requests that one process of the step sends to another; absent when there is one process. */
  readonly remote?: RegExp;
  /** Tables whose rows are messages that are not handled yet, by database; empty when the step keeps none. */
  readonly waiting: Readonly<Record<string, readonly string[]>>;
  /** Time without a commit after which the step is at rest, in ms; for steps whose waiting retries can't be seen. */
  readonly quietMs?: number;
  /** The table whose rows are deliveries, so that the lab can make each of them arrive twice. */
  readonly deliveries?: { readonly database: string; readonly table: string };
}

type Facts = Omit<Step, 'number' | 'folder' | 'database'> & { readonly isSplit?: boolean };

const MESH_TABLES = ['mesh_outbox', 'mesh_delivery'];
/** Operations that the services of steps 1 and 2 call. */
const OPERATIONS = /^\/operations\//;
/** What the application publishes, what the broker delivers, and the remote queries between modules. */
const MESH_REQUESTS = /^\/(cabs\/default|mesh\/(queries\/.+|rides|geolocation|drivers|loyalty|invoicing))?$/;

const FACTS: readonly Facts[] = [
  { title: 'legacy', tables: 'legacy', completing: 'cabs', invoicing: 'cabs', waiting: {} },
  {
    title: 'naive-split',
    tables: 'legacy',
    isSplit: true,
    completing: 'cabs',
    invoicing: 'invoicing',
    remote: OPERATIONS,
    waiting: {},
  },
  {
    title: 'service-mesh',
    tables: 'legacy',
    isSplit: true,
    completing: 'cabs',
    invoicing: 'invoicing',
    remote: OPERATIONS,
    waiting: {},
  },
  { title: 'modules', tables: 'legacy', completing: 'cabs', invoicing: 'cabs', waiting: {} },
  { title: 'commands-and-queries', tables: 'legacy', completing: 'cabs', invoicing: 'cabs', waiting: {} },
  {
    title: 'outbox',
    tables: 'legacy',
    completing: 'cabs',
    invoicing: 'cabs',
    waiting: { cabs: ['outbox'] },
    deliveries: { database: 'cabs', table: 'outbox' },
  },
  {
    title: 'inbox',
    tables: 'legacy',
    completing: 'cabs',
    invoicing: 'cabs',
    waiting: { cabs: ['outbox'] },
    deliveries: { database: 'cabs', table: 'outbox' },
  },
  {
    title: 'application',
    tables: 'modules',
    completing: 'cabs',
    invoicing: 'cabs',
    waiting: { cabs: MESH_TABLES },
    deliveries: { database: 'cabs', table: 'mesh_delivery' },
  },
  {
    title: 'knative',
    tables: 'modules',
    completing: 'cabs',
    invoicing: 'cabs',
    broker: 'broker',
    remote: MESH_REQUESTS,
    waiting: { cabs: MESH_TABLES, mesh: MESH_TABLES },
    deliveries: { database: 'mesh', table: 'mesh_delivery' },
  },
  {
    title: 'split',
    tables: 'modules',
    isSplit: true,
    completing: 'rides',
    invoicing: 'invoicing',
    broker: 'broker',
    remote: MESH_REQUESTS,
    waiting: Object.fromEntries([...OWNERS, 'mesh'].map((name) => [name, MESH_TABLES])),
    deliveries: { database: 'mesh', table: 'mesh_delivery' },
  },
];

export const STEPS: readonly Step[] = FACTS.map(({ isSplit, ...facts }, number) => ({
  ...facts,
  number,
  folder: `${number}-${facts.title}`,
  database: (owner: Owner) => (isSplit ? owner : 'cabs'),
}));

/** The step with that title. */
export function stepNamed(title: string): Step {
  const step = STEPS.find((it) => it.title === title);
  if (!step) throw new Error(`There is no step ${title}: the steps are ${STEPS.map((it) => it.title).join(', ')}.`);
  return step;
}

/** Whether the step runs the compiled application. An exercise is run without a build. */
export function needsBuild(step: Step): boolean {
  return step.tables === 'modules' && STEPS.includes(step);
}

export function folderOf({ folder }: Pick<Step, 'folder'>): string {
  return join(ROOT, 'workshop', folder);
}

/** The processes of a step, as its `processes.ts` plans them. */
export async function processesOf(step: Pick<Step, 'folder'>, planner: ProcessPlanner): Promise<Planned[]> {
  const file = join(folderOf(step), 'processes.ts');
  // Node loads a module once, but an exercise changes: the query makes a changed file a new module.
  const module = (await import(`${file}?${statSync(file).mtimeMs}`)) as {
    processes(planner: ProcessPlanner): Planned[];
  };
  return module.processes(planner);
}
