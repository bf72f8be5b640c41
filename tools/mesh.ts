import { namedUrlsOf, portOf, runCommand } from './command-line.js';
import { startBroker } from './broker/broker.js';
import { channelOf } from './channel-option.js';

const USAGE = `npm run mesh -- [options]

  Starts the laptop broker: a small Knative Broker that reads the manifests of the cluster. It is a development tool;
  production is Knative.

  --channel KIND             synchronous (default): answers 202 when every subscriber has handled the event, or it went to the
                             dead letter sink, as Knative's in-memory channel since 1.13. If that fails, the answer is 500.
                             asynchronous: answers 202 as soon as the event is on disk, as Knative 1.12 and channels
                             with the annotation async-handler: "true" do
  --port N                   port on the loopback address; default 8090
  --manifests FOLDER         folder with Brokers and Triggers; default deploy/knative/monolith
  --service NAME=URL         address of a Service; repeatable. Defaults:
                             cabs=http://localhost:3000, dead-letters=http://localhost:3001
  --database sqlite:PATH     file for stored messages, one per broker; default sqlite:data/mesh.db. Only the
                             asynchronous channel stores messages
  --quiet                    prints the subscriptions at the start, but not each message`;

const options = {
  channel: { type: 'string', default: 'synchronous' },
  port: { type: 'string', default: '8090' },
  manifests: { type: 'string', default: 'deploy/knative/monolith' },
  service: { type: 'string', multiple: true, default: [] as string[] },
  database: { type: 'string', default: 'sqlite:data/mesh.db' },
  quiet: { type: 'boolean', default: false },
} as const;

const SERVICES = { cabs: 'http://localhost:3000', 'dead-letters': 'http://localhost:3001' };

await runCommand({ usage: USAGE, options }, async ({ channel, manifests, database, quiet, port, service }) => {
  const broker = await startBroker({
    channel: channelOf(channel),
    manifests,
    database,
    services: { ...SERVICES, ...namedUrlsOf('--service', service) },
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
