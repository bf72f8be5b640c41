import type { Planned, ProcessPlanner } from '../runner/process-planner.js';

/** The application of src/, a broker, and a process for the dead letters of the broker. */
export function processes({ application, database, tool, url }: ProcessPlanner): Planned[] {
  const mesh = { MESH_TRANSPORT: 'knative', K_SINK: `${url('broker')}/cabs/default` };
  return [
    application('cabs', { DATABASE_URL: `sqlite:${database('cabs')}`, ...mesh }),
    application('dead-letters', { DATABASE_URL: `sqlite:${database('dead-letters')}`, ...mesh, MODULES: 'none' }),
    // The lab makes messages arrive twice in the rows of the broker, and a synchronous channel stores none.
    tool('broker', 'tools/meshy.ts broker', [
      '--channel',
      'asynchronous',
      '--database',
      `sqlite:${database('mesh')}`,
      '--manifests',
      'deploy/knative/monolith',
      '--quiet',
      '--service',
      `cabs=${url('cabs')}`,
      '--service',
      `dead-letters=${url('dead-letters')}`,
    ]),
  ];
}
