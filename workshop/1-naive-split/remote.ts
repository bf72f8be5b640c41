import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Agent, request } from 'undici';
import { Conflict, NotFound, Unavailable } from '../../src/infrastructure/contracts/domain-errors.js';

export type Service = 'geolocation' | 'rides' | 'drivers' | 'loyalty' | 'invoicing';

/** Longest wait for an answer, in ms: a typical default of HTTP clients. */
const TIMEOUT_MS = 30_000;

/** Calls other services. The environment variable `USVC_<SERVICE>` holds the base URL of a service. */
@Injectable()
export class Remote implements OnApplicationShutdown {
  private readonly agent = new Agent({ headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS });

  /**
   * Calls an operation of a service and waits for its result.
   * @throws NotFound or Conflict, as the service does; Unavailable when the service fails or doesn't answer
   */
  call<Result>(service: Service, operation: string, body: object): Promise<Result> {
    return this.send(service, 'POST', `/operations/${operation}`, JSON.stringify(body));
  }

  /** Reads a resource of a service. */
  read<Result>(service: Service, path: string): Promise<Result> {
    return this.send(service, 'GET', path);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.agent.destroy();
  }

  private async send<Result>(service: Service, method: 'GET' | 'POST', path: string, body?: string): Promise<Result> {
    const url = process.env[`USVC_${service.toUpperCase()}`] + path;
    const headers = { 'content-type': 'application/json' };
    const options = { method, headers, dispatcher: this.agent, ...(body !== undefined && { body }) };
    const reply = await request(url, options)
      .then(async (it) => ({ status: it.statusCode, text: await it.body.text() }))
      .catch((error: Error) => {
        throw new Unavailable(`${service} can't be reached: ${error.message}`);
      });
    if (reply.status < 300) return (reply.text ? JSON.parse(reply.text) : undefined) as Result;
    const { detail = reply.text } = JSON.parse(reply.text) as { detail?: string };
    if (reply.status === 404) throw new NotFound(detail);
    if (reply.status === 409) throw new Conflict(detail);
    throw new Unavailable(`${service} answered ${reply.status}: ${detail}`);
  }
}
