import { startBroker } from './broker/broker.js';
import { channelOf } from './channel-option.js';
import { namedUrlsOf, portOf, runCommand, type Call } from './command-line.js';

/** What the laptop broker assumes of an application. */
export interface BrokerDefaults {
  readonly manifests: string;
  /** Addresses of Services, by name. */
  readonly services: Readonly<Record<string, string>>;
  readonly database: string;
}

const usage = (program: string, { manifests, services, database }: BrokerDefaults) => `${program} [options]

  Starts the laptop broker: a small Knative Broker that reads the manifests of the cluster. It is a development tool;
  production is Knative.

  --channel KIND             synchronous (default): answers 202 when every subscriber has handled the event, or it went to the
                             dead letter sink, as Knative's in-memory channel since 1.13. If that fails, the answer is 500.
                             asynchronous: answers 202 as soon as the event is on disk, as Knative 1.12 and channels
                             with the annotation async-handler: "true" do
  --port N                   port on the loopback address; default 8090
  --manifests FOLDER         folder with Brokers and Triggers; default ${manifests}
  --service NAME=URL         address of a Service; repeatable. ${defaultsOf(services)}
  --database sqlite:PATH     file for stored messages, one per broker; default ${database}. Only the
                             asynchronous channel stores messages
  --quiet                    prints the subscriptions at the start, but not each message`;

function defaultsOf(services: BrokerDefaults['services']): string {
  const named = Object.entries(services).map(([name, url]) => `${name}=${url}`);
  return named.length === 0 ? 'Each that a Trigger names' : `Defaults:\n${' '.repeat(29)}${named.join(', ')}`;
}

/** `meshy broker` */
export function broker({ program, args }: Call, defaults: BrokerDefaults): Promise<void> {
  const options = {
    channel: { type: 'string', default: 'synchronous' },
    port: { type: 'string', default: '8090' },
    manifests: { type: 'string', default: defaults.manifests },
    service: { type: 'string', multiple: true, default: [] as string[] },
    database: { type: 'string', default: defaults.database },
    quiet: { type: 'boolean', default: false },
  } as const;
  return runCommand(
    { usage: usage(program, defaults), options },
    async ({ channel, manifests, database, quiet, port, service }) => {
      const running = await startBroker({
        channel: channelOf(channel),
        manifests,
        database,
        services: { ...defaults.services, ...namedUrlsOf('--service', service) },
        port: portOf('--port', port),
        isColoured: process.stdout.isTTY || Boolean(process.env.FORCE_COLOR),
        ...(!quiet && { print: (line: string) => console.log(line) }),
      });
      for (const line of running.description) console.log(line);
      let isStopping = false;
      const stop = () => {
        if (isStopping) return;
        isStopping = true;
        running.stop().then(
          () => process.exit(0),
          (error: Error) => {
            console.error(error.message);
            process.exit(1);
          },
        );
      };
      process.on('SIGINT', stop);
      process.on('SIGTERM', stop);
    },
    args,
  );
}
