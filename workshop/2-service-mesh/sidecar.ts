import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import {
  BrokenCircuitError,
  circuitBreaker,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleAll,
  retry,
  timeout,
  TimeoutStrategy,
  wrap,
} from 'cockatiel';
import { Agent, request } from 'undici';

/*
 * A sidecar: the application sends its calls to /<service>/…, and the sidecar forwards them with a timeout, retries and
 * a circuit breaker, like the VirtualService and DestinationRule of a service mesh. `USVC_<SERVICE>` holds the base URL
 * of a service.
 */

/** Timeout of one attempt, in ms. */
const TIMEOUT_MS = 1000;
/** Attempts after the first. */
const RETRIES = 3;
/** Wait before the first retry, in ms. It doubles with each retry. */
const BACKOFF_MS = 50;
/** Failures in a row that open the circuit of a service: calls then fail at once. */
const FAILURES = 10;
/** How long the circuit stays open, in ms. */
const OPEN_MS = 1000;

/** Statuses that a retry may cure. */
const isFailure = (status: number) => status >= 500;

class FailedReply extends Error {
  constructor(readonly reply: Reply) {
    super(`answered ${reply.status}`);
  }
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

const agent = new Agent();

function policyFor() {
  const retries = retry(handleAll, {
    maxAttempts: RETRIES,
    backoff: new ExponentialBackoff({ initialDelay: BACKOFF_MS, maxDelay: 1000 }),
  });
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: OPEN_MS, breaker: new ConsecutiveBreaker(FAILURES) });
  return wrap(retries, breaker, timeout(TIMEOUT_MS, TimeoutStrategy.Aggressive));
}

const policies = new Map<string, ReturnType<typeof policyFor>>();

/** @throws the error of the last attempt */
async function forward(service: string, path: string, method: string, body: Buffer): Promise<Reply> {
  let policy = policies.get(service);
  if (!policy) policies.set(service, (policy = policyFor()));
  return policy.execute(async ({ signal }) => {
    const url = process.env[`USVC_${service.toUpperCase()}`] + path;
    const headers = { 'content-type': 'application/json' };
    const options = { method: method as 'GET' | 'POST', headers, signal, dispatcher: agent };
    const answer = await request(url, { ...options, ...(body.length > 0 && { body }) });
    const type = String(answer.headers['content-type'] ?? 'application/json');
    const reply = { status: answer.statusCode, type, body: Buffer.from(await answer.body.arrayBuffer()) };
    if (isFailure(reply.status)) throw new FailedReply(reply);
    return reply;
  });
}

async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, service = '', path = '/'] = /^\/([a-z]+)(\/.*)$/.exec(incoming.url ?? '') ?? [];
  if (service === 'health') return void response.end('{"status":"ready"}');
  try {
    answer(response, await forward(service, path, incoming.method ?? 'GET', await buffer(incoming)));
  } catch (error) {
    if (error instanceof FailedReply) return answer(response, error.reply);
    const status = error instanceof BrokenCircuitError ? 503 : 504;
    const detail = `${service}: ${(error as Error).message}`;
    answer(response, {
      status,
      type: 'application/problem+json',
      body: Buffer.from(JSON.stringify({ status, detail })),
    });
  }
}

function answer(response: ServerResponse, { status, type, body }: Reply): void {
  response.writeHead(status, { 'content-type': type, 'content-length': body.length }).end(body);
}

const server = createServer((incoming, response) => void serve(incoming, response));
server.listen(Number(process.env.PORT), '127.0.0.1');
process.once('SIGTERM', () => process.exit(0));
