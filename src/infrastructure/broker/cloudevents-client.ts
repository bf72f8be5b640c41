import { rootCertificates } from 'node:tls';
import type { Message, TransportFunction } from 'cloudevents';
import type { Agent } from 'undici';
import { assertExtensions } from '../cloudevents/attributes.js';
import { extension, type CloudEvent } from '../cloudevents/cloud-event.js';
import { flatBinary, type FlatMessage, type OutgoingMessage } from '../cloudevents/http-binding.js';
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
  private opening?: Promise<Agent>;
  /** The same, when it is there: waiting for a promise would cost each request some time. */
  private agent?: Agent;
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
  post(url: string, event: CloudEvent): Promise<ClientResponse> {
    return this.exchange(url, () => this.messageOf(event));
  }

  /** Sends a message of an HTTP binding. @throws Error when there is no response */
  send(url: string, { headers, body }: OutgoingMessage): Promise<ClientResponse> {
    return this.exchange(url, () => ({ headers: Object.entries(headers).flat(), body }));
  }

  /** Each promise of a request costs about a microsecond, so that there is one where nothing has to be waited for. */
  private exchange(url: string, message: () => FlatMessage): Promise<ClientResponse> {
    const { agent } = this;
    return agent && !this.options.token ? this.request(agent, url, message) : this.prepared(url, message);
  }

  /** As `exchange()`, when the first agent is being made, or a token is needed. */
  private async prepared(url: string, message: () => FlatMessage): Promise<ClientResponse> {
    const { token } = this.options;
    const authorization = token && (await token.authorization());
    const agent = this.agent ?? (await this.open());
    const response = await this.request(agent, url, () => {
      const { headers, body } = message();
      if (authorization) headers.push('authorization', authorization);
      return { headers, body };
    });
    if (response.status === 401) token?.forget();
    return response;
  }

  private request(agent: Agent, url: string, message: () => FlatMessage): Promise<ClientResponse> {
    return new Promise<ClientResponse>((resolve, reject) => {
      if (this.last.url !== url) {
        const { origin, pathname, search } = new URL(url);
        this.last = { url, origin, path: pathname + search };
      }
      const { origin, path } = this.last;
      const { headers, body } = message();
      agent.dispatch({ origin, path, method: 'POST', headers, body }, new ResponseHandler(resolve, reject));
    });
  }

  private messageOf(event: CloudEvent): FlatMessage {
    const { extensions } = this.options;
    const message = flatBinary(extensions ? { ...event, ...extensions } : event);
    const traceparent = extension(event, 'traceparent');
    if (isTraceparent(traceparent)) message.headers.push('traceparent', traceparent);
    return message;
  }

  private async open(): Promise<Agent> {
    this.opening ??= agentOf(this.options);
    const { opening } = this;
    const agent = await opening;
    // Unless it was closed meanwhile.
    if (this.opening === opening) this.agent = agent;
    return agent;
  }

  /** Fails all requests in flight. The events may have arrived all the same. */
  async abort(): Promise<void> {
    const { opening } = this;
    this.agent = this.opening = undefined;
    await (await opening)?.destroy();
  }

  async close(): Promise<void> {
    await (await this.opening)?.destroy();
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
