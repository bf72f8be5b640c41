import { Logger } from '@nestjs/common';
import pRetry from 'p-retry';
import type { Agent } from 'undici';
import { Unavailable } from '../contracts/domain-errors.js';
import { requestContext } from '../observability/request-context.js';
import { fromWire, toWire } from '../cloudevents/cloud-event.js';
import type { QueryClass } from '../contracts/message.js';

/** Longest wait for one answer, in ms: somebody waits for what is made of it. */
const TIMEOUT_MS = 1000;
/** A query has no side effects: it is asked again, after 50 to 200 ms. */
const RETRIES = { retries: 2, minTimeout: 50, maxTimeout: 200, randomize: true };

/** Asks the modules that live elsewhere: `POST <their base URL>/mesh/queries/<query>`. */
export class RemoteQueries {
  private readonly logger = new Logger('Queries');
  private agent?: Promise<Agent>;

  /** @param services base URLs by module */
  constructor(private readonly services: Readonly<Record<string, string>>) {}

  /** @throws Unavailable when there is no answer to be had that the contract knows */
  async ask(module: string, query: QueryClass, data: unknown): Promise<unknown> {
    const base = this.services[module];
    if (!base) throw new Unavailable(`${module} lives elsewhere, and USVC_${module.toUpperCase()} doesn't say where`);
    const address = new URL(`${base}/mesh/queries/${query.queryName}`);
    const body = JSON.stringify(toWire(data));
    try {
      const reply = await pRetry(() => this.post(address, body), RETRIES);
      return query.result.parse(fromWire(reply));
    } catch (error) {
      this.logger.warn({ module, query: query.queryName, err: error as Error }, 'A query was not answered');
      throw new Unavailable(`${module} can't be asked now`);
    }
  }

  private async post({ origin, pathname }: URL, body: string): Promise<unknown> {
    const on = requestContext();
    const agent = await (this.agent ??= agentOf());
    const { statusCode, body: reply } = await agent.request({
      ...{ origin, path: pathname, method: 'POST', body },
      headers: {
        'content-type': 'application/json',
        ...(on && { 'x-correlation-id': on.correlationId, traceparent: on.traceparent }),
      },
    });
    const text = await reply.text();
    if (statusCode !== 200) throw new Error(`${origin}${pathname} answered ${statusCode}: ${text.slice(0, 200)}`);
    return (JSON.parse(text) as { result: unknown }).result;
  }

  /** Ends the connections. */
  async close(): Promise<void> {
    await (await this.agent)?.destroy();
  }
}

/** Undici takes a while to load, and where all modules are in one process nobody needs it. */
async function agentOf(): Promise<Agent> {
  const { Agent } = await import('undici');
  return new Agent({ headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS, connect: { timeout: TIMEOUT_MS } });
}
