import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ChannelKind } from '../broker/channel.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Address {
  readonly port: number;
  readonly url: string;
}

/** How to start a process, and its address. */
export interface Planned {
  readonly name: string;
  readonly port: number;
  readonly url: string;
  /** The port of the mesh, where it has one of its own. */
  readonly mesh?: Address;
  /** The path that answers with 200 when the process is ready. */
  readonly readyPath: string;
  /** The arguments of Node. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly database?: string;
}

export interface Plan {
  readonly gateway: Planned;
  readonly broker: Planned;
  readonly deadLetters: Planned;
  readonly modules: readonly Planned[];
}

export interface PlanOptions {
  /** The port of the gateway. Dead letters use the next port, modules N + 10 and up, and N + 30 and up for the mesh. */
  readonly port: number;
  readonly brokerPort: number;
  readonly channel: ChannelKind;
  /** The folder of the databases. */
  readonly data: string;
  readonly seed: 'demo' | 'none';
}

/** The names of the module folders. Importing the modules instead would take most of the time of the start. */
function moduleNames(): string[] {
  const found = readdirSync(join(ROOT, 'src/modules'), { withFileTypes: true });
  return found.filter((it) => it.isDirectory()).map(({ name }) => name);
}

/** The path of the Broker that the manifests define. */
const BROKER = 'cabs/default';
const MANIFESTS = 'deploy/knative/split';

/** Plans the processes and ports: the deployment of a cluster, on one laptop. */
export function planOf(options: PlanOptions): Plan {
  const { port, brokerPort, channel, data, seed } = options;
  const at = (number: number): Address => ({ port: number, url: `http://localhost:${number}` });
  const names = moduleNames();
  const addresses = new Map(names.map((name, index) => [name, at(port + 10 + index)] as const));
  const meshAddresses = new Map(names.map((name, index) => [name, at(port + 30 + index)] as const));
  const others = (name?: string) =>
    [...meshAddresses].filter(([it]) => it !== name).map(([it, { url }]) => [`USVC_${it.toUpperCase()}`, url] as const);
  const sink = `${at(brokerPort).url}/${BROKER}`;
  const application = (name: string, modules: string, address: Address, mesh?: Address): Planned => {
    const database = `sqlite:${join(data, `${name}.db`)}`;
    return {
      name,
      ...address,
      ...(mesh && { mesh }),
      readyPath: '/health/ready',
      database,
      command: ['dist/src/main.js'],
      environment: {
        MODULES: modules,
        MESH_TRANSPORT: 'knative',
        K_SINK: sink,
        ...Object.fromEntries(others(name)),
        PORT: String(address.port),
        ...(mesh && { MESH_PORT: String(mesh.port) }),
        DATABASE_URL: database,
        SEED: seed,
        NODE_ENV: 'development',
      },
    };
  };
  const deadLetters = application('dead-letters', 'none', at(port + 1));
  const modules = [...addresses].map(([name, address]) => application(name, name, address, meshAddresses.get(name)));
  const database = `sqlite:${join(data, 'mesh.db')}`;
  const services = [...modules, deadLetters].flatMap(({ name, url, mesh }) => [
    '--service',
    `${name}=${mesh?.url ?? url}`,
  ]);
  const tool = ['--import', 'tsx'];
  return {
    deadLetters,
    modules,
    broker: {
      name: 'broker',
      ...at(brokerPort),
      readyPath: '/mesh/outbox',
      database,
      environment: {},
      command: [
        ...tool,
        'tools/meshy.ts',
        'broker',
        '--channel',
        channel,
        '--port',
        String(brokerPort),
        '--database',
        database,
        '--manifests',
        MANIFESTS,
        ...services,
      ],
    },
    gateway: {
      name: 'gateway',
      ...at(port),
      readyPath: '/health/ready',
      environment: {},
      command: [
        ...tool,
        'tools/gateway.ts',
        '--port',
        String(port),
        '--broker',
        at(brokerPort).url,
        '--dead-letters',
        deadLetters.url,
        ...modules.flatMap(({ name, url }) => ['--module', `${name}=${url}`]),
        ...[...meshAddresses].flatMap(([name, { url }]) => ['--mesh', `${name}=${url}`]),
      ],
    },
  };
}
