import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

const MODULES = ['clients', 'drivers', 'geolocation', 'invoicing', 'loyalty', 'rides'] as const;

/** The application of src/: each module in a process with a database of its own, behind one gateway. */
export function processes({ application, database, tool, url }: ProcessPlanner): Planned[] {
  const mesh = { MESH_TRANSPORT: 'knative', K_SINK: `${url('broker')}/cabs/default` };
  const otherModules = (module: string) =>
    Object.fromEntries(MODULES.filter((it) => it !== module).map((it) => [`USVC_${it.toUpperCase()}`, url(it)]));
  const flags = (flag: string, names: readonly string[]) => names.flatMap((name) => [flag, `${name}=${url(name)}`]);
  return [
    tool('cabs', 'tools/gateway.ts', [
      '--broker',
      url('broker'),
      '--dead-letters',
      url('dead-letters'),
      ...flags('--module', MODULES),
    ]),
    ...MODULES.map((module) =>
      application(module, {
        DATABASE_URL: `sqlite:${database(module)}`,
        ...mesh,
        MODULES: module,
        ...otherModules(module),
      }),
    ),
    application('dead-letters', { DATABASE_URL: `sqlite:${database('dead-letters')}`, ...mesh, MODULES: 'none' }),
    // The lab makes messages arrive twice in the rows of the broker, and a synchronous channel stores none.
    tool('broker', 'tools/meshy.ts broker', [
      '--channel',
      'asynchronous',
      '--database',
      `sqlite:${database('mesh')}`,
      '--manifests',
      'deploy/knative/split',
      '--quiet',
      ...flags('--service', [...MODULES, 'dead-letters']),
    ]),
  ];
}
