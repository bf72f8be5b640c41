import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { OWNERS, type Owner } from '../shared/schema.js';
import type { Place, Planned } from './step-directory.js';

/** A step of the workshop: a folder, and what the lab has to know of it. */
export interface Step {
  readonly number: number;
  /** Under workshop/. */
  readonly folder: string;
  readonly title: string;
  /** Whose tables it has: those of the legacy, or those of the modules in src/. */
  readonly tables: 'legacy' | 'modules';
  /** The database that holds an owner's tables. */
  readonly database: (owner: Owner) => string;
  /** The process that completes rides, and the one that issues invoices. */
  readonly completing: string;
  readonly invoicing: string;
  readonly broker?: string;
  /** Which requests are remote calls from one of its processes to another; none where there is one process. */
  readonly remote?: RegExp;
  /** Tables whose rows are messages on their way, and the databases that have them; none where none are kept. */
  readonly waiting: Readonly<Record<string, readonly string[]>>;
  /** How long nothing has to be committed before it is at rest, in ms, where retries can't be seen waiting. */
  readonly quietMs?: number;
  /** Messages travel through tables, so that one can be made to arrive twice: which table, in which database. */
  readonly deliveries?: { readonly database: string; readonly table: string };
}

type Facts = Omit<Step, 'number' | 'folder' | 'title' | 'database'> & { readonly isSplit?: boolean };

const monolith = { completing: 'cabs', invoicing: 'cabs', waiting: {} };
const apart = { completing: 'cabs', invoicing: 'invoicing', isSplit: true, remote: /^\/operations\//, waiting: {} };
const onMesh = ['mesh_outbox', 'mesh_delivery'];
const onBroker = {
  tables: 'modules',
  broker: 'broker',
  // What the application publishes, what the broker delivers, and what modules ask each other.
  remote: /^\/(cabs\/default|mesh\/(queries\/.+|rides|geolocation|drivers|loyalty|invoicing))?$/,
  deliveries: { database: 'mesh', table: 'mesh_delivery' },
} as const;

const STEPS_OF: readonly [title: string, facts: Facts][] = [
  ['legacy', { ...monolith, tables: 'legacy' }],
  ['naive-split', { ...apart, tables: 'legacy' }],
  ['service-mesh', { ...apart, tables: 'legacy' }],
  ['modules', { ...monolith, tables: 'legacy' }],
  ['commands-and-queries', { ...monolith, tables: 'legacy' }],
  [
    'outbox',
    {
      ...{ ...monolith, tables: 'legacy', waiting: { cabs: ['outbox'] } },
      deliveries: { database: 'cabs', table: 'outbox' },
    },
  ],
  [
    'inbox',
    {
      ...{ ...monolith, tables: 'modules', waiting: { cabs: onMesh } },
      deliveries: { database: 'cabs', table: 'mesh_delivery' },
    },
  ],
  ['knative', { ...monolith, ...onBroker, waiting: { cabs: onMesh, mesh: onMesh } }],
  [
    'split',
    {
      ...{ ...onBroker, completing: 'rides', invoicing: 'invoicing', isSplit: true },
      waiting: Object.fromEntries([...OWNERS, 'mesh'].map((name) => [name, onMesh])),
    },
  ],
];

export const STEPS: readonly Step[] = STEPS_OF.map(([title, { isSplit, ...facts }], number) => ({
  ...{ number, title, folder: `${number}-${title}`, ...facts },
  database: (owner: Owner) => (isSplit ? owner : 'cabs'),
}));

/** Whether something of it is the compiled application; what somebody has on his desk is run as it is. */
export function needsBuild(step: Step): boolean {
  return step.tables === 'modules' && STEPS.includes(step);
}

export function folderOf({ folder }: Pick<Step, 'folder'>): string {
  return join(ROOT, 'workshop', folder);
}

/** The processes of a step, as its own `processes.ts` says. */
export async function processesOf(step: Pick<Step, 'folder'>, place: Place): Promise<Planned[]> {
  const file = join(folderOf(step), 'processes.ts');
  // What is on a desk changes; a module is loaded once.
  const module = (await import(`${file}?${statSync(file).mtimeMs}`)) as { processes(place: Place): Planned[] };
  return module.processes(place);
}
