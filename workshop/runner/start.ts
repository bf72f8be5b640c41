import { join } from 'node:path';
import { DEMO_CLIENT, DEMO_DRIVER, DEMO_RIDE, REACHED } from '../../src/demo.js';
import { isFree } from '../../tools/ports.js';
import { ROOT } from '../../tools/source.js';
import { buildApplication } from './step-directory.js';
import { StepProcesses } from './step-processes.js';
import { needsBuild, type Step } from './steps.js';

/** Serves a step with the demo's ride in transit, until a signal ends it. @throws Error when the port is taken */
export async function serveStep(step: Step, port: number): Promise<void> {
  if (!(await isFree(port))) {
    throw new Error(`Port ${port} is taken: stop the process that listens there, or choose another port with --port.`);
  }
  if (needsBuild(step)) buildApplication();
  let isServing = false;
  const { LOG_LEVEL } = process.env;
  const processes = await StepProcesses.open(step, {
    data: join(ROOT, 'data/workshop', step.folder),
    port,
    environment: {
      ...(process.stdout.isTTY && { FORCE_COLOR: '1' }),
      ...(LOG_LEVEL && { LOG_LEVEL }),
    },
    onLine: (line) => {
      // The start messages of the processes are hidden: the welcome below replaces them.
      if (isServing) console.log(line);
    },
  });
  isServing = true;
  console.log(welcome(step, processes, `http://localhost:${port}`));
  let isEnding = false;
  const end = () => {
    if (isEnding) process.exit(1);
    isEnding = true;
    processes.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
}

function welcome({ number, title, folder }: Step, processes: StepProcesses, url: string): string {
  const list = processes.planned
    .map(({ name, url: ownUrl }) => `  ${name.padEnd(14)} ${ownUrl}   pid ${processes.pidOf(name)}`)
    .join('\n');
  const heading = folder === 'mine' ? 'Exercise' : `Step ${number}, ${title}`;
  return `
${heading}: workshop/${folder}/${folder === 'mine' ? '' : 'README.md'}

${list}

Bob Falc is driving John Doe. Complete the ride:

curl -i -X POST ${url}/transits/${DEMO_RIDE}/complete \\
  -H 'Content-Type: application/json' \\
  -d '${JSON.stringify({ ...REACHED, hash: -580606919 })}'

Then look at its effects: the ride, its invoice, the miles, the driver.

  curl -s ${url}/transits/${DEMO_RIDE}
  curl -s '${url}/invoices?transitId=${DEMO_RIDE}'
  curl -s ${url}/clients/${DEMO_CLIENT.id}/awards
  curl -s ${url}/drivers/${DEMO_DRIVER}

Ctrl-C stops the step. The next start puts the ride in transit again.
`;
}
