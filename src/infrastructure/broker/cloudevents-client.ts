import { rootCertificates } from 'node:tls';
import type { Message, TransportFunction } from 'cloudevents';
import type { Agent } from 'undici';
import { assertExtensions } from '../cloudevents/attributes.js';
import { extension, type CloudEvent } from '../cloudevents/cloud-event.js';
import { HTTP, type OutgoingMessage } from '../cloudevents/http-binding.js';
import { loadUndici } from '../http/optional-packages.js';
import { isTraceparent } from '../observability/request-context.js';
import { ResponseHandler, type ClientResponse } from './response-handler.js';
import { isSuccess } from './response-classes.js';

export interface CloudEventsClientOptions {
  /** Longest wait for a response, in ms. */
  readonly timeoutMs: number;
  /** Certificates (PEM) that are trusted besides the well-known ones: Knative's K_CA_CERTS. */
  readonly caCerts?: string;
  /** Extensions that every event gets: those of Knative's K_CE_OVERRIDES. */
  readonly extensions?: Readonly<Record<string, string>>;
  /** Where the value of `Authorization` comes from; `forget()` is called when it was refused. */
  readonly token?: { authorization(): Promise<string | undefined>; forget(): void };
  /** Requests in flight to one address; 64 by default. */
  readonly connections?: number;
}

/** Posts events over kept connections. Follows no redirect: a broker has none to give. */
export class CloudEventsClient {
  private agent?: Promise<Agent>;
  /** The last address, parsed. */
  private last = { url: '', origin: '', path: '' };

  /** @throws MalformedEvent when an extension would replace something of an event */
  constructor(private readonly options: CloudEventsClientOptions) {
    assertExtensions(options.extensions ?? {});
  }

  /**
   * Posts one event in binary mode, with its trace in the HTTP header `traceparent`, which brokers continue.
   * @throws MalformedEvent when HTTP can't carry the event; Error when there is no response
   */
  async post(url: string, event: CloudEvent): Promise<ClientResponse> {
    const { extensions } = this.options;
    const { headers, body } = HTTP.binary(extensions ? { ...event, ...extensions } : event);
    const traceparent = extension(event, 'traceparent');
    if (isTraceparent(traceparent)) headers.traceparent = traceparent;
    return this.send(url, { headers, body });
  }

  /** Sends a message of an HTTP binding. @throws Error when there is no response */
  async send(url: string, { headers, body }: OutgoingMessage): Promise<ClientResponse> {
    const { token } = this.options;
    const authorization = token && (await token.authorization());
    if (this.last.url !== url) {
      const { origin, pathname, search } = new URL(url);
      this.last = { url, origin, path: pathname + search };
    }
    const { origin, path } = this.last;
    const agent = await (this.agent ??= agentOf(this.options));
    if (authorization) headers.authorization = authorization;
    const response = await new Promise<ClientResponse>((resolve, reject) => {
      agent.dispatch({ origin, path, method: 'POST', headers, body }, new ResponseHandler(resolve, reject));
    });
    if (response.status === 401) token?.forget();
    return response;
  }

  /** Fails all requests in flight. The events may have arrived all the same. */
  async abort(): Promise<void> {
    const { agent } = this;
    this.agent = undefined;
    await (await agent)?.destroy();
  }

  async close(): Promise<void> {
    await (await this.agent)?.destroy();
  }
}

/**
 * A transport for `emitterFor()` of the SDK: `emitterFor(meshTransport(client, url), { binding: HTTP })` posts over the
 * connections of the client. Give it the `HTTP` binding of the mesh, since that of the SDK doesn't encode headers.
 * @throws Error, from the emitter, when the response is no success
 */
export function meshTransport(client: CloudEventsClient, url: string): TransportFunction {
  return async ({ headers, body }: Message) => {
    const message = { headers: headers as Record<string, string>, body: body as OutgoingMessage['body'] };
    const response = await client.send(url, message);
    if (!isSuccess(response.status)) throw new Error(`${url} answered ${response.status}: ${response.body}`);
    return response;
  };
}

async function agentOf({ timeoutMs, caCerts, connections = 64 }: CloudEventsClientOptions): Promise<Agent> {
  const { Agent } = await loadUndici();
  return new Agent({
    connections,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { timeout: Math.min(timeoutMs, 5000), ...(caCerts && { ca: [...rootCertificates, caCerts] }) },
  });
}
