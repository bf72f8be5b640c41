import type { Place, Planned } from '../runner/step-directory.js';

const MODULES = ['clients', 'drivers', 'geolocation', 'invoicing', 'loyalty', 'rides'] as const;

/** The application of src/, each module of it in a process and a database of its own, and one address for all. */
export function processes({ application, database, tool, url }: Place): Planned[] {
  const mesh = { MESH_TRANSPORT: 'knative', K_SINK: `${url('broker')}/cabs/default` };
  const others = (module: string) =>
    Object.fromEntries(MODULES.filter((it) => it !== module).map((it) => [`USVC_${it.toUpperCase()}`, url(it)]));
  const at = (flag: string, names: readonly string[]) => names.flatMap((name) => [flag, `${name}=${url(name)}`]);
  return [
    tool('cabs', 'tools/gateway.ts', [
      ...['--broker', url('broker'), '--dead-letters', url('dead-letters'), ...at('--module', MODULES)],
    ]),
    ...MODULES.map((module) =>
      application(module, {
        ...{ DATABASE_URL: `sqlite:${database(module)}`, ...mesh, MODULES: module, ...others(module) },
      }),
    ),
    application('dead-letters', { DATABASE_URL: `sqlite:${database('dead-letters')}`, ...mesh, MODULES: 'none' }),
    tool('broker', 'tools/mesh.ts', [
      ...['--database', `sqlite:${database('mesh')}`, '--manifests', 'deploy/knative/split', '--quiet'],
      ...at('--service', [...MODULES, 'dead-letters']),
    ]),
  ];
}
