import type { Type } from '@nestjs/common';
import { meshFeatureOf } from '../src/infrastructure/contracts/mesh-feature.js';
import { runCommand, type Call } from './command-line.js';
import { UsageError } from './errors.js';
import { eventingManifests, type Place } from './eventing.js';
import { APP_OPTION, APP_USAGE, readApplication } from './host-modules.js';
import { writeManifests } from './manifest-folder.js';

const FOLDER = 'deploy/knative';

const usage = (program: string) => `${program} --service NAME [options] [folder]

  Generates what an application needs in a cluster with Knative Eventing: a Broker, a Trigger for each module that
  handles messages, a SinkBinding that sets K_SINK, and a kustomization that lists them. The Knative Services themselves
  are yours. Files that it has written before are replaced, or deleted when they are out of use; others are kept.

  --service NAME      the Knative Service of the application; MODULE=NAME for a module that has a Service of its own;
                      repeatable
  --dead-letters NAME the Knative Service that stores the dead letters, a process with \`hosted: []\`; default
                      dead-letters
  --namespace NAME    default: default
  --audience TEXT     the audience of the Broker's tokens, with OIDC
${APP_USAGE}

  folder              default ${FOLDER}`;

const options = {
  ...APP_OPTION,
  service: { type: 'string', multiple: true, default: [] as string[] },
  'dead-letters': { type: 'string', default: 'dead-letters' },
  namespace: { type: 'string', default: 'default' },
  audience: { type: 'string' },
} as const;

/** `meshy manifests` */
export function manifests({ program, args }: Call): Promise<void> {
  return runCommand(
    { usage: usage(program), options, allowPositionals: true },
    async ({ app, service, namespace, audience, 'dead-letters': deadLetters }, [folder = FOLDER, ...more]) => {
      if (more.length > 0) throw new UsageError(`Unexpected argument "${more[0]}": expected one folder.`);
      const { modules } = await readApplication(app);
      const hostOf = hosts(service, modules);
      const partOf = service.find((it) => !it.includes('=')) ?? namespace;
      const place: Place = { namespace, partOf, ...(audience && { audience }) };
      writeManifests(folder, eventingManifests(modules, place, { hostOf, deadLetters }));
      console.log(`Wrote ${folder}`);
    },
    args,
  );
}

/** @throws UsageError when a module has no Service, or an option names no module */
function hosts(services: readonly string[], modules: readonly Type[]): (module: string) => string {
  const names = modules.map((it) => meshFeatureOf(it).name);
  const own = new Map<string, string>();
  let shared: string | undefined;
  for (const text of services) {
    const [, module, name] = /^(?:([^=]+)=)?([^=]+)$/.exec(text) ?? [];
    if (!name) throw new UsageError(`Invalid --service "${text}": expected NAME or MODULE=NAME.`);
    if (module && !names.includes(module))
      throw new UsageError(`Invalid --service "${text}": the modules are ${names.join(', ')}.`);
    if (module ? own.has(module) : shared !== undefined) throw new UsageError(`Repeated --service ${text}.`);
    if (module) own.set(module, name);
    else shared = name;
  }
  const homeless = names.find((it) => !own.has(it) && shared === undefined);
  if (homeless) throw new UsageError(`Missing --service: which Knative Service hosts ${homeless}?`);
  return (module) => own.get(module) ?? shared!;
}
