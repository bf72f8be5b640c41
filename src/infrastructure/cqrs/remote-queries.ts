import pRetry from 'p-retry';
import type { Agent } from 'undici';
import { Unavailable } from '../contracts/domain-errors.js';
import { leaveSlot } from '../http/request-slot.js';
import { requestContext } from '../observability/request-context.js';
import { fromWire, toWire } from '../cloudevents/mapping.js';
import type { QueryClass } from '../contracts/message.js';
import { MeshLogger } from '../observability/mesh-logger.js';
import { loadUndici } from '../http/optional-packages.js';

/** Longest wait for one answer, in ms: a user waits for the result. */
const TIMEOUT_MS = 1000;
/** Largest answer, in bytes: parsed, it takes up to forty times as much. */
const MAX_ANSWER_BYTES = 1024 * 1024;
/** A request that waits for longer than this, in ms, takes up no place of others. */
const SLOW_MS = 100;
/** Queries have no side effects, so they are retried; waits in ms. */
const RETRIES = { retries: 2, minTimeout: 50, maxTimeout: 200, randomize: true };

/** Asks modules of other processes: `POST <base URL of the module>/mesh/queries/<query>`. */
export class RemoteQueries {
  private readonly logger = new MeshLogger('Queries');
  private agent?: Promise<Agent>;

  /**
   * @param services base URLs by module
   * @param token where the value of `Authorization` comes from; `forget()` is called when it was refused
   */
  constructor(
    private readonly services: Readonly<Record<string, string>>,
    private readonly token?: { authorization(): Promise<string>; forget(): void },
  ) {}

  /** @throws Unavailable when the module doesn't answer, or answers something else than its contract says */
  async ask(module: string, query: QueryClass, data: unknown): Promise<unknown> {
    const base = Object.hasOwn(this.services, module) ? this.services[module] : undefined;
    if (!base)
      throw new Unavailable(`The address of ${module} is unknown: set USVC_${module.toUpperCase()} to its base URL`);
    const address = new URL(`${base}/mesh/queries/${query.queryName}`);
    const slow = setTimeout(leaveSlot, SLOW_MS);
    const body = JSON.stringify(toWire(data));
    try {
      const reply = await pRetry(() => this.post(address, body), RETRIES);
      return query.result.parse(fromWire(reply));
    } catch (error) {
      this.logger.warn({ module, query: query.queryName, err: error as Error }, 'A query was not answered');
      throw new Unavailable(`${module} doesn't answer now: try again later`);
    } finally {
      clearTimeout(slow);
    }
  }

  private async post({ origin, pathname }: URL, body: string): Promise<unknown> {
    const context = requestContext();
    const authorization = await this.token?.authorization();
    const agent = await (this.agent ??= agentOf());
    const { statusCode, body: reply } = await agent.request({
      origin,
      path: pathname,
      method: 'POST',
      // The time-outs of the agent start anew with each piece of the answer.
      signal: AbortSignal.timeout(TIMEOUT_MS),
      body,
      headers: {
        'content-type': 'application/json',
        ...(authorization && { authorization }),
        ...(context && { 'x-correlation-id': context.correlationId, traceparent: context.traceparent }),
      },
    });
    const text = await reply.text();
    if (statusCode === 401) this.token?.forget();
    // Without the text of the answer, which may hold data of users.
    if (statusCode !== 200) throw new Error(`${origin}${pathname} answered ${statusCode}`);
    return (JSON.parse(text) as { result: unknown }).result;
  }

  async close(): Promise<void> {
    await (await this.agent)?.destroy();
  }
}

async function agentOf(): Promise<Agent> {
  const { Agent } = await loadUndici();
  return new Agent({
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    maxResponseSize: MAX_ANSWER_BYTES,
    connect: { timeout: TIMEOUT_MS },
  });
}
