import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ChannelKind } from '../tools/broker/channel.js';
import { freePort } from '../tools/ports.js';
import { ROOT } from '../tools/source.js';
import type { ServicePlan } from './service.js';

/** The broker of `knative` and `split` has a synchronous channel, as Knative since 1.13. */
export type Transport = 'in-process' | 'knative' | 'knative-asynchronous' | 'split' | 'split-asynchronous' | 'replicas';

/** A kind of database, and how the application is distributed over processes. */
export interface Combination {
  readonly name: string;
  readonly database: 'sqlite' | 'postgres';
  readonly transport: Transport;
  readonly hasBroker: boolean;
  /** The kind of the broker's channel, where there is a broker. */
  readonly channel: ChannelKind;
  /** Whether each module is a process. */
  readonly isSplit: boolean;
  /** Transits that users complete in a second; a small machine with many processes bears fewer. */
  readonly perSecond: number;
}

const combination = (database: 'sqlite' | 'postgres', transport: Transport): Combination => ({
  name: `${database}-${transport}`,
  database,
  transport,
  hasBroker: /^(knative|split)/.test(transport),
  channel: transport.endsWith('asynchronous') ? 'asynchronous' : 'synchronous',
  isSplit: transport.startsWith('split'),
  perSecond: transport.startsWith('split') ? 5 : 8,
});

export const COMBINATIONS: readonly Combination[] = [
  ...(['in-process', 'knative', 'knative-asynchronous', 'split'] as const).map((it) => combination('sqlite', it)),
  ...(['in-process', 'knative', 'split', 'split-asynchronous', 'replicas'] as const).map((it) =>
    combination('postgres', it),
  ),
];

export const MODULES = ['clients', 'drivers', 'geolocation', 'invoicing', 'loyalty', 'rides'] as const;

/** The processes of the application by name, each with its value of MODULES. */
export function applicationsOf({ transport, isSplit }: Combination): Record<string, string | undefined> {
  if (transport === 'replicas') return { 'cabs-1': undefined, 'cabs-2': undefined };
  if (transport === 'in-process') return { cabs: undefined };
  const modules = isSplit ? Object.fromEntries(MODULES.map((it) => [it, it])) : { cabs: undefined };
  return { ...modules, 'dead-letters': 'none' };
}

/** The name of the database of a process. */
export function databaseOf(application: string): string {
  return application.replace(/-\d$/, '').replace('-', '_');
}

/**
 * Many retries at short intervals, so that an outage causes neither a long wait nor a dead letter. The reconcile loop is
 * off: it would repair losses before they are counted.
 */
const FAST_RETRIES = {
  MESH_RETRY: '60',
  MESH_BACKOFF_POLICY: 'linear',
  MESH_BACKOFF_DELAY: 'PT0.2S',
  MESH_RECONCILE_EVERY: 'PT0S',
  SHUTDOWN_GRACE: 'PT5S',
  LOG_LEVEL: 'warn',
  SEED: 'none',
  NO_COLOR: '1',
};

/** The addresses that a process is started with. */
export interface Addresses {
  readonly folder: string;
  /** The DATABASE_URL of a database. */
  readonly database: (name: string) => string;
  /** The URL of a process, for users and other processes. */
  readonly url: (name: string) => string;
  /** The URL of a process, for the broker. */
  readonly deliveryUrl: (name: string) => string;
}

/** @returns the name and port of each process of a combination */
export async function portsOf(combination: Combination): Promise<Map<string, number>> {
  const { isSplit, hasBroker } = combination;
  const names = Object.keys(applicationsOf(combination));
  if (hasBroker) names.push('broker');
  if (isSplit) names.push('gateway');
  const first = await freePort(names.length);
  return new Map(names.map((name, index) => [name, first + index]));
}

/** How each process of a combination is started. */
export function plansOf(combination: Combination, ports: Map<string, number>, addresses: Addresses): ServicePlan[] {
  const { isSplit, hasBroker, channel } = combination;
  const { url } = addresses;
  const urlOf = (module: string) => url(isSplit ? module : 'cabs');
  const mesh = hasBroker && {
    MESH_TRANSPORT: 'knative',
    K_SINK: `${url('broker')}/cabs/default`,
    ...Object.fromEntries(MODULES.map((it) => [`USVC_${it.toUpperCase()}`, urlOf(it)])),
  };
  const applications = applicationsOf(combination);
  const plans = Object.entries(applications).map(([name, modules]): ServicePlan => {
    const port = ports.get(name)!;
    const environment = {
      ...FAST_RETRIES,
      ...mesh,
      DATABASE_URL: addresses.database(databaseOf(name)),
      PORT: String(port),
    };
    return {
      name,
      port,
      readyPath: '/health/ready',
      command: ['dist/src/main.js'],
      environment: {
        ...environment,
        ...(modules && { MODULES: modules }),
        FAULTS_APPLICATION: pathToFileURL(join(ROOT, 'dist/src')).href,
      },
    };
  });
  const tool = (name: string, readyPath: string, file: string, args: string[]): ServicePlan => ({
    name,
    readyPath,
    port: ports.get(name)!,
    environment: {},
    command: ['--import', 'tsx', ...file.split(' '), '--port', String(ports.get(name)), ...args],
  });
  if (hasBroker) {
    const manifests = manifestsWithFastRetries(isSplit ? 'split' : 'monolith', addresses.folder);
    const services = Object.keys(applications).flatMap((it) => ['--service', `${it}=${addresses.deliveryUrl(it)}`]);
    const database = addresses.database('broker');
    const args = ['--channel', channel, '--database', database, '--manifests', manifests, '--quiet', ...services];
    plans.push(tool('broker', '/mesh/outbox', 'tools/meshy.ts broker', args));
  }
  if (isSplit) {
    const modules = MODULES.flatMap((it) => ['--module', `${it}=${url(it)}`]);
    const args = ['--broker', url('broker'), '--dead-letters', url('dead-letters'), ...modules];
    plans.push(tool('gateway', '/health/live', 'tools/gateway.ts', args));
  }
  return plans;
}

/** Copies the manifests of the cluster, with the fast retries of the rig. @returns the folder of the copy */
function manifestsWithFastRetries(deployment: 'monolith' | 'split', folder: string): string {
  const target = join(folder, 'manifests');
  mkdirSync(target, { recursive: true });
  cpSync(join(ROOT, 'deploy/knative', deployment), target, { recursive: true });
  for (const file of readdirSync(target)) {
    const text = readFileSync(join(target, file), 'utf8');
    const withFastRetries = text
      .replace(/retry: \d+/g, 'retry: 60')
      .replace(/backoffPolicy: exponential/g, 'backoffPolicy: linear');
    writeFileSync(join(target, file), withFastRetries);
  }
  return target;
}
