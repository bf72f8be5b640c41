import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import type { Plan } from './service.js';

export type Transport = 'in-process' | 'knative' | 'split' | 'replicas';

/** A database, and how the application is spread over processes. */
export interface Combination {
  readonly name: string;
  readonly database: 'sqlite' | 'postgres';
  readonly transport: Transport;
  readonly hasBroker: boolean;
  /** Users who say that their ride is over, in a second: what so many processes can bear on a small machine. */
  readonly perSecond: number;
}

const combination = (database: 'sqlite' | 'postgres', transport: Transport): Combination => ({
  name: `${database}-${transport}`,
  database,
  transport,
  hasBroker: transport === 'knative' || transport === 'split',
  perSecond: transport === 'split' ? 5 : 8,
});

export const COMBINATIONS: readonly Combination[] = [
  ...(['in-process', 'knative', 'split'] as const).map((it) => combination('sqlite', it)),
  ...(['in-process', 'knative', 'split', 'replicas'] as const).map((it) => combination('postgres', it)),
];

export const MODULES = ['clients', 'drivers', 'geolocation', 'invoicing', 'loyalty', 'rides'] as const;

/** The processes of the application that users or the broker talk to, and which modules each has. */
export function applicationsOf({ transport }: Combination): Record<string, string | undefined> {
  if (transport === 'replicas') return { 'cabs-1': undefined, 'cabs-2': undefined };
  if (transport === 'in-process') return { cabs: undefined };
  const modules = transport === 'split' ? Object.fromEntries(MODULES.map((it) => [it, it])) : { cabs: undefined };
  return { ...modules, 'dead-letters': 'none' };
}

/** The name of the database that a process of the application works on. */
export function databaseOf(application: string): string {
  return application.replace(/-\d$/, '').replace('-', '_');
}

/**
 * Tries come quickly and often, so that an outage costs neither a long wait nor a dead letter; no reconcile loop heals
 * what was lost before anybody has counted it.
 */
const HASTY = {
  MESH_RETRY: '60',
  MESH_BACKOFF_POLICY: 'linear',
  MESH_BACKOFF_DELAY: 'PT0.2S',
  MESH_RECONCILE_EVERY: 'PT0S',
  SHUTDOWN_GRACE: 'PT5S',
  LOG_LEVEL: 'warn',
  SEED: 'none',
  NO_COLOR: '1',
};

/** Where things are to be found, for whoever starts a process. */
export interface Surroundings {
  readonly folder: string;
  /** The DATABASE_URL of a database. */
  readonly database: (name: string) => string;
  /** The URL by which others know a process. */
  readonly url: (name: string) => string;
  /** The URL by which the broker knows it. */
  readonly deliveries: (name: string) => string;
}

/** @returns the name and port of each process of a combination */
export async function placesOf(combination: Combination): Promise<Map<string, number>> {
  const { transport, hasBroker } = combination;
  const names = Object.keys(applicationsOf(combination));
  if (hasBroker) names.push('broker');
  if (transport === 'split') names.push('front-door');
  const first = await freePort(names.length);
  return new Map(names.map((name, index) => [name, first + index]));
}

/** How each process of a combination is started. */
export function plansOf(combination: Combination, places: Map<string, number>, around: Surroundings): Plan[] {
  const { transport, hasBroker } = combination;
  const { url } = around;
  const home = (module: string) => url(transport === 'split' ? module : 'cabs');
  const mesh = hasBroker && {
    MESH_TRANSPORT: 'knative',
    K_SINK: `${url('broker')}/cabs/default`,
    ...Object.fromEntries(MODULES.map((it) => [`USVC_${it.toUpperCase()}`, home(it)])),
  };
  const applications = applicationsOf(combination);
  const plans = Object.entries(applications).map(([name, modules]): Plan => {
    const port = places.get(name)!;
    const environment = { ...HASTY, ...mesh, DATABASE_URL: around.database(databaseOf(name)), PORT: String(port) };
    return {
      name,
      port,
      readyPath: '/health/ready',
      command: ['dist/main.js'],
      environment: {
        ...environment,
        ...(modules && { MODULES: modules }),
        FAULTS_APPLICATION: pathToFileURL(join(ROOT, 'dist')).href,
      },
    };
  });
  const tool = (name: string, readyPath: string, file: string, words: string[]): Plan => ({
    name,
    readyPath,
    port: places.get(name)!,
    environment: {},
    command: ['--import', 'tsx', file, '--port', String(places.get(name)), ...words],
  });
  if (hasBroker) {
    const manifests = hastyManifests(transport === 'split' ? 'split' : 'monolith', around.folder);
    const services = Object.keys(applications).flatMap((it) => ['--service', `${it}=${around.deliveries(it)}`]);
    const words = ['--database', around.database('broker'), '--manifests', manifests, '--quiet', ...services];
    plans.push(tool('broker', '/mesh/outbox', 'tools/mesh.ts', words));
  }
  if (transport === 'split') {
    const homes = MODULES.flatMap((it) => ['--module', `${it}=${url(it)}`]);
    const words = ['--broker', url('broker'), '--dead-letters', url('dead-letters'), ...homes];
    plans.push(tool('front-door', '/health/live', 'tools/gateway.ts', words));
  }
  return plans;
}

/** The manifests of the cluster, with the haste of the rig. @returns their folder */
function hastyManifests(deployment: 'monolith' | 'split', folder: string): string {
  const target = join(folder, 'manifests');
  mkdirSync(target, { recursive: true });
  cpSync(join(ROOT, 'deploy/knative', deployment), target, { recursive: true });
  for (const file of readdirSync(target)) {
    const text = readFileSync(join(target, file), 'utf8');
    const hasty = text
      .replace(/retry: \d+/g, 'retry: 60')
      .replace(/backoffPolicy: exponential/g, 'backoffPolicy: linear');
    writeFileSync(join(target, file), hasty);
  }
  return target;
}
