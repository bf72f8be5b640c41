import type { IncomingHttpHeaders } from 'node:http';
import { rootCertificates } from 'node:tls';
import type { Agent, Dispatcher } from 'undici';
import type { CloudEvent } from '../cloudevents/cloud-event.js';
import { toHttp } from '../cloudevents/http-binding.js';

/** How events are sent to an address. */
export interface CloudEventsClientOptions {
  /** Longest wait for an answer, in ms. */
  readonly timeoutMs: number;
  /** Certificates (PEM) that are trusted besides the well-known ones: Knative's K_CA_CERTS. */
  readonly caCerts?: string;
  /** Extensions that every event gets: those of Knative's K_CE_OVERRIDES. */
  readonly extensions?: Readonly<Record<string, string>>;
  /** The value of `Authorization`, and how to say that it was refused. */
  readonly token?: { authorization(): Promise<string | undefined>; forget(): void };
  /** Requests that may be under way to one address. */
  readonly connections?: number;
}

/** What an address answered. */
export interface ClientResponse {
  readonly status: number;
  /** What it asks to wait, in ms. */
  readonly retryAfterMs?: number;
  /** The beginning of what it said, unless it was a success. */
  readonly body: string;
}

/** So much of an error's body is kept, in characters. */
const KEPT_BODY_LENGTH = 1000;
/** Who answers with more than this is cut off, in bytes. */
const MAX_BODY_BYTES = 128 * 1024;

/** Posts events over connections that are kept. No redirect is followed: a broker has none to give. */
export class CloudEventsClient {
  private agent?: Promise<Agent>;
  /** The address that was posted to last, taken apart. */
  private last = { url: '', origin: '', path: '' };

  constructor(private readonly options: CloudEventsClientOptions) {}

  /**
   * Posts one event, in binary mode.
   * @throws Error when there is no answer
   */
  async post(url: string, event: CloudEvent): Promise<ClientResponse> {
    const { extensions, token } = this.options;
    const { headers, body } = toHttp(extensions ? { ...event, ...extensions } : event);
    const authorization = token && (await token.authorization());
    if (this.last.url !== url) {
      const { origin, pathname, search } = new URL(url);
      this.last = { url, origin, path: pathname + search };
    }
    const { origin, path } = this.last;
    const agent = await (this.agent ??= agentOf(this.options));
    if (authorization) headers.authorization = authorization;
    const answer = await new Promise<ClientResponse>((resolve, reject) => {
      agent.dispatch({ origin, path, method: 'POST', headers, body }, new ResponseHandler(resolve, reject));
    });
    if (answer.status === 401) token?.forget();
    return answer;
  }

  /** Waits for no answer any more: whoever does gets an error. What was sent may have arrived all the same. */
  async abort(): Promise<void> {
    const { agent } = this;
    this.agent = undefined;
    await (await agent)?.destroy();
  }

  /** Ends the connections. */
  async close(): Promise<void> {
    await (await this.agent)?.destroy();
  }
}

/** Undici takes a while to load, and only those who post need it. */
async function agentOf({ timeoutMs, caCerts, connections = 64 }: CloudEventsClientOptions): Promise<Agent> {
  const { Agent } = await import('undici');
  return new Agent({
    ...{ connections, headersTimeout: timeoutMs, bodyTimeout: timeoutMs },
    connect: { timeout: Math.min(timeoutMs, 5000), ...(caCerts && { ca: [...rootCertificates, caCerts] }) },
  });
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/** Hears what is answered to one request: as undici's own `request()` does, without a stream for what nobody reads. */
class ResponseHandler implements Dispatcher.DispatchHandler {
  private answer: ClientResponse = { status: 0, body: '' };
  private length = 0;
  private readonly chunks: Buffer[] = [];

  constructor(
    private readonly resolve: (answer: ClientResponse) => void,
    private readonly reject: (error: Error) => void,
  ) {}

  /** Undici knows by it which way to call us. */
  onRequestStart(): void {
    return;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return; // not the answer yet
    this.answer = { status, body: '', ...retryAfter(headers['retry-after']) };
    // Accepted is accepted, whatever else is said; the connection serves again once that has been read.
    if (isSuccess(status)) this.resolve(this.answer);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.length += chunk.length;
    if (!isSuccess(this.answer.status)) this.chunks.push(chunk);
    if (this.length > MAX_BODY_BYTES) controller.abort(new Error('The answer is too long'));
  }

  onResponseEnd(): void {
    const body = Buffer.concat(this.chunks).toString().slice(0, KEPT_BODY_LENGTH);
    this.resolve({ ...this.answer, body });
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    // What was said so far counts: a status is an answer.
    if (this.answer.status === 0) this.reject(error);
    else this.onResponseEnd();
  }
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3); what is neither is ignored. */
function retryAfter(value: string | string[] | undefined): { retryAfterMs?: number } {
  if (typeof value !== 'string') return {};
  const ms = /^\d{1,9}$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? { retryAfterMs: ms } : {};
}
