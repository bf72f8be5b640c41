import type { Place, Planned } from '../runner/step-directory.js';

/** The application of src/, a broker, and a process that keeps what the broker gives up. */
export function processes({ application, database, tool, url }: Place): Planned[] {
  const mesh = { MESH_TRANSPORT: 'knative', K_SINK: `${url('broker')}/cabs/default` };
  return [
    application('cabs', { DATABASE_URL: `sqlite:${database('cabs')}`, ...mesh }),
    application('dead-letters', { DATABASE_URL: `sqlite:${database('dead-letters')}`, ...mesh, MODULES: 'none' }),
    tool('broker', 'tools/mesh.ts', [
      ...['--database', `sqlite:${database('mesh')}`, '--manifests', 'deploy/knative/monolith', '--quiet'],
      ...['cabs', 'dead-letters'].flatMap((name) => ['--service', `${name}=${url(name)}`]),
    ]),
  ];
}
