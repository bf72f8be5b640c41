import { join } from 'node:path';
import { DEMO_CLIENT, DEMO_DRIVER, DEMO_RIDE, REACHED } from '../../src/demo.js';
import { isFree } from '../../tools/ports.js';
import { ROOT } from '../../tools/source.js';
import { House } from './step-processes.js';
import { buildApplication } from './step-directory.js';
import { needsBuild, type Step } from './steps.js';

/** Serves a step with the demo's ride under way, until somebody ends it. @throws Error when the port is taken */
export async function serveStep(step: Step, port: number): Promise<void> {
  if (!(await isFree(port))) {
    throw new Error(`Port ${port} is taken: end what listens there, or choose another with --port.`);
  }
  if (needsBuild(step)) buildApplication();
  let isServing = false;
  const house = await House.open(step, {
    ...{ data: join(ROOT, 'data/workshop', step.folder), port },
    environment: {
      ...(process.stdout.isTTY && { FORCE_COLOR: '1' }),
      ...Object.fromEntries(['LOG_LEVEL'].flatMap((it) => (process.env[it] ? [[it, process.env[it]]] : []))),
    },
    tell: (line) => {
      // Each process would greet a newcomer; we do it for all of them.
      if (isServing) console.log(line);
    },
  });
  isServing = true;
  console.log(welcome(step, house, `http://localhost:${port}`));
  let isEnding = false;
  const end = () => {
    if (isEnding) process.exit(1);
    isEnding = true;
    house.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
}

function welcome({ number, title, folder }: Step, house: House, url: string): string {
  const processes = house.planned
    .map(({ name, url: at }) => `  ${name.padEnd(14)} ${at}   pid ${house.pidOf(name)}`)
    .join('\n');
  const what = folder === 'mine' ? 'Exercise' : `Step ${number}, ${title}`;
  return `
${what}: workshop/${folder}/${folder === 'mine' ? '' : 'README.md'}

${processes}

Bob Falc is driving John Doe. End the ride:

curl -i -X POST ${url}/transits/${DEMO_RIDE}/complete \\
  -H 'Content-Type: application/json' \\
  -d '${JSON.stringify({ ...REACHED, hash: -580606919 })}'

and see what it left behind:

  curl -s ${url}/transits/${DEMO_RIDE}
  curl -s '${url}/invoices?transitId=${DEMO_RIDE}'
  curl -s ${url}/clients/${DEMO_CLIENT.id}/awards
  curl -s ${url}/drivers/${DEMO_DRIVER}

Start it again to have the ride under way again. Ctrl-C ends it.
`;
}
