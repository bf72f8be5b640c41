import { rootCertificates } from 'node:tls';
import type { Agent, Dispatcher } from 'undici';
import type { CloudEvent } from './cloud-event.js';
import { toHttp } from './cloud-event-http.js';

/** How events are sent to an address. */
export interface SinkOptions {
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
export interface Answer {
  readonly status: number;
  /** What it asks to wait, in ms. */
  readonly retryAfterMs?: number;
  /** The beginning of what it said, unless it was a success. */
  readonly body: string;
}

/** So much of an error's body is kept, in characters. */
const BODY_KEPT = 1000;

/** Posts events over connections that are kept. No redirect is followed: a broker has none to give. */
export class Sink {
  private agent?: Promise<Agent>;
  /** The address that was posted to last, taken apart. */
  private last = { url: '', origin: '', path: '' };

  constructor(private readonly options: SinkOptions) {}

  /**
   * Posts one event, in binary mode.
   * @throws Error when there is no answer
   */
  async post(url: string, event: CloudEvent): Promise<Answer> {
    const { extensions, token } = this.options;
    const { headers, body } = toHttp(extensions ? { ...event, ...extensions } : event);
    const authorization = token && (await token.authorization());
    if (this.last.url !== url) {
      const { origin, pathname, search } = new URL(url);
      this.last = { url, origin, path: pathname + search };
    }
    const { origin, path } = this.last;
    const agent = await (this.agent ??= agentOf(this.options));
    const reply = await agent.request({
      ...{ origin, path, method: 'POST', body },
      headers: authorization ? { ...headers, authorization } : headers,
    });
    const { statusCode: status } = reply;
    if (status === 401) token?.forget();
    // Accepted is accepted, whatever else is said; the connection serves again once that has been read.
    if (isSuccess(status)) {
      reply.body.dump().catch(() => undefined);
      return { status, body: '' };
    }
    return { status, body: await beginningOf(reply.body), ...retryAfter(reply.headers['retry-after']) };
  }

  /** Waits for no answer any more: whoever does gets an error. What was sent may have arrived all the same. */
  async cut(): Promise<void> {
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
async function agentOf({ timeoutMs, caCerts, connections = 64 }: SinkOptions): Promise<Agent> {
  const { Agent } = await import('undici');
  return new Agent({
    ...{ connections, headersTimeout: timeoutMs, bodyTimeout: timeoutMs },
    connect: { timeout: Math.min(timeoutMs, 5000), ...(caCerts && { ca: [...rootCertificates, caCerts] }) },
  });
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

async function beginningOf(body: Dispatcher.ResponseData['body']): Promise<string> {
  let text = '';
  for await (const chunk of body) {
    text += String(chunk);
    if (text.length >= BODY_KEPT) break;
  }
  return text.slice(0, BODY_KEPT);
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3); what is neither is ignored. */
function retryAfter(value: string | string[] | undefined): { retryAfterMs?: number } {
  if (typeof value !== 'string') return {};
  const ms = /^\d{1,9}$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? { retryAfterMs: ms } : {};
}
