import { parseArgs } from 'node:util';
import { startBroker } from './broker/broker.js';

const USAGE = `npm run mesh -- [options]

  A Knative Broker for a laptop, driven by the manifests of the cluster. A development tool: production is Knative.

  --port N                   8090 unless told; the loopback address only
  --manifests FOLDER         Brokers and Triggers, deploy/knative/monolith unless told
  --service NAME=URL         where a Service lives; repeatable. Known unless told:
                             cabs=http://localhost:3000, dead-letters=http://localhost:3001
  --database sqlite:PATH     sqlite:data/mesh.db unless told; one broker for each file
  --quiet                    tells the start only, not each message`;

const options = {
  port: { type: 'string', default: '8090' },
  manifests: { type: 'string', default: 'deploy/knative/monolith' },
  service: { type: 'string', multiple: true, default: [] as string[] },
  database: { type: 'string', default: 'sqlite:data/mesh.db' },
  quiet: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h' },
} as const;

class Usage extends Error {}

async function run(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) throw new Usage();
  const { manifests, database, quiet } = values;
  if (!/^\d{1,5}$/.test(values.port)) throw new Usage(`--port ${values.port} is no port`);
  const services: Record<string, string> = { cabs: 'http://localhost:3000', 'dead-letters': 'http://localhost:3001' };
  for (const service of values.service) {
    const [, name, url] = /^([^=]+)=(.+)$/.exec(service) ?? [];
    if (!name || !url || !URL.canParse(url)) throw new Usage(`--service ${service} is not NAME=URL`);
    services[name] = url;
  }
  const broker = await startBroker({
    manifests,
    database,
    services,
    port: Number(values.port),
    isColoured: process.stdout.isTTY || Boolean(process.env.FORCE_COLOR),
    ...(!quiet && { tell: (line: string) => console.log(line) }),
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
}

try {
  await run();
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  const isMisuse = error instanceof Usage || code?.startsWith('ERR_PARSE_ARGS');
  console.error(isMisuse ? `${message ? `${message}\n\n` : ''}${USAGE}` : message);
  process.exitCode = 1;
}
