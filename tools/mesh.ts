import { namedUrlOf, portOf, runCommand } from './command-line.js';
import { startBroker } from './broker/broker.js';

const USAGE = `npm run mesh -- [options]

  Starts the laptop broker: a small Knative Broker that reads the manifests of the cluster. It is a development tool;
  production is Knative.

  --port N                   port on the loopback address; default 8090
  --manifests FOLDER         folder with Brokers and Triggers; default deploy/knative/monolith
  --service NAME=URL         address of a Service; repeatable. Defaults:
                             cabs=http://localhost:3000, dead-letters=http://localhost:3001
  --database sqlite:PATH     file for accepted messages, one per broker; default sqlite:data/mesh.db
  --quiet                    prints the subscriptions at the start, but not each message`;

const options = {
  port: { type: 'string', default: '8090' },
  manifests: { type: 'string', default: 'deploy/knative/monolith' },
  service: { type: 'string', multiple: true, default: [] as string[] },
  database: { type: 'string', default: 'sqlite:data/mesh.db' },
  quiet: { type: 'boolean', default: false },
} as const;

const SERVICES = { cabs: 'http://localhost:3000', 'dead-letters': 'http://localhost:3001' };

await runCommand({ usage: USAGE, options }, async ({ manifests, database, quiet, port, service }) => {
  const broker = await startBroker({
    manifests,
    database,
    services: { ...SERVICES, ...Object.fromEntries(service.map((it) => namedUrlOf('--service', it))) },
    port: portOf('--port', port),
    isColoured: process.stdout.isTTY || Boolean(process.env.FORCE_COLOR),
    ...(!quiet && { print: (line: string) => console.log(line) }),
  });
  for (const line of broker.description) console.log(line);
  let isStopping = false;
  const stop = () => {
    if (isStopping) return;
    isStopping = true;
    broker.stop().then(
      () => process.exit(0),
      (error: Error) => {
        console.error(error.message);
        process.exit(1);
      },
    );
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
});
