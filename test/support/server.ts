import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'undici';

/** A server process, as `npm run start:prod` starts it. */
export interface ServerProcess {
  readonly url: string;
  /** Where the mesh is served: `url`, unless NODE_ENV or MESH_PORT give it a port of its own. */
  readonly meshUrl: string;
  readonly process: ChildProcess;
  /** Sends a signal and waits until the process exits. @returns the exit code, null after a signal */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** A server whose output is kept. */
export interface LoggingServer extends ServerProcess {
  /** The lines that the process has printed so far, about 100,000 characters at most. */
  lines(): string[];
}

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

/**
 * Starts the compiled application. @param main its main.js; of this release by default
 * @throws Error with its output when it doesn't listen after two minutes
 */
export async function startServer(environment: Record<string, string>, main = MAIN): Promise<LoggingServer> {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, PORT: '0', SEED: 'none', LOG_LEVEL: 'info', SHUTDOWN_DELAY: 'PT0S', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const [port, meshPort] = await new Promise<[string, string]>((resolve, reject) => {
    const fail = (problem: string) => {
      clearTimeout(timeout);
      child.kill('SIGKILL');
      reject(new Error(`The server ${problem}:\n${output}`));
    };
    const timeout = setTimeout(() => fail('does not listen'), 120_000);
    child.once('exit', () => fail('ended'));
    const read = (chunk: Buffer) => {
      if (output.length < 100_000) output += chunk.toString();
      // The log line, or the message on the terminal when nothing is logged.
      const [, logged, shown] = /"port":(\d+)|http:\/\/localhost:(\d+)\/api/.exec(output) ?? [];
      const listening = logged ?? shown;
      if (!listening) return;
      clearTimeout(timeout);
      resolve([listening, /"meshPort":(\d+)/.exec(output)?.[1] ?? listening]);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
  });
  child.removeAllListeners('exit');
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, 'exit');
    child.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  };
  const at = (number: string) => `http://127.0.0.1:${number}`;
  return { url: at(port), meshUrl: at(meshPort), process: child, end, lines: () => output.split('\n') };
}

/** In bytes. */
interface Memory {
  rss: number;
  heapUsed: number;
  external: number;
}

/**
 * Measures the memory of a server after a garbage collection: without one, the measurement depends on when V8 last
 * collected. The server has to run with `NODE_OPTIONS=--inspect-port=0`.
 */
export async function memoryOf({ process: child }: ServerProcess) {
  const announced = new Promise<string>((resolve) => {
    child.stderr!.on('data', (chunk: Buffer) => {
      const url = /ws:\/\/\S+/.exec(chunk.toString())?.[0];
      if (url) resolve(url);
    });
  });
  child.kill('SIGUSR1');
  const socket = new WebSocket(await announced);
  await once(socket, 'open');
  const request = async (method: string, params: object = {}): Promise<unknown> => {
    socket.send(JSON.stringify({ id: 1, method, params }));
    const [{ data }] = (await once(socket, 'message')) as [{ data: unknown }];
    return JSON.parse(String(data));
  };
  const held = async (): Promise<Memory> => {
    await request('HeapProfiler.collectGarbage');
    const reply = await request('Runtime.evaluate', { expression: 'process.memoryUsage()', returnByValue: true });
    return (reply as { result: { result: { value: Memory } } }).result.result.value;
  };
  return { held, close: () => socket.close() };
}

/** Sends a JSON request. @throws Error without a response within a minute, or when the status is 400 or above */
export async function call<Reply>(method: string, url: string, body?: object, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`);
  return { status: response.status, body: JSON.parse(text) as Reply };
}

const PICKUP = { country: 'Polska', city: 'Warszawa', street: 'Młynarska', buildingNumber: 20 };
const PLANNED = { ...PICKUP, street: 'Żytnia', buildingNumber: 25 };
/** The actual destination of the rides. */
export const REACHED = { ...PICKUP, street: 'Żytnia', buildingNumber: 32 };

/** Rides in transit, each with a driver of its own, all for one client with a miles account. @returns their ids */
export async function prepareRides(url: string, count: number): Promise<string[]> {
  const post = async (path: string, body?: object, headers?: Record<string, string>) =>
    (await call<{ id: string | number }>('POST', `${url}${path}`, body, headers)).body.id;
  const clientId = await post('/clients', { name: 'John', lastName: 'Doe' });
  await post(`/clients/${clientId}/awards`);
  await post(`/clients/${clientId}/awards/activate`);
  return runConcurrently(10, count, async () => {
    const driverId = await post('/drivers', { firstName: 'Bob', lastName: 'Falc', driverLicense: 'AD9SS564564AA1ZZ' });
    await post(`/drivers/${driverId}/activate`);
    const ride = await post('/transits', { clientId, from: PICKUP, to: PLANNED });
    await post(`/transits/${ride}/publish`);
    await post(`/transits/${ride}/accept`, { driverId }, { prefer: 'wait=10' });
    await post(`/transits/${ride}/start`);
    return String(ride);
  });
}

/** Runs `task` for 0, 1, … `count` - 1, at most `workers` of them at a time. */
export async function runConcurrently<T>(
  workers: number,
  count: number,
  task: (index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) results[index] = await task(index);
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return results;
}
