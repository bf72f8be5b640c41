import { Agent, request } from 'undici';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { isRetryable } from '../../src/infrastructure/delivery/retry-policy.js';
import { asHeader, type Message } from './wire.js';

/** What a dead letter says of its death, in `knativeerror*`. */
export interface ErrorInfo {
  readonly destination: string;
  readonly code: number;
  readonly body: string | Buffer;
}

/** A try that failed; another may help. */
export class DeliveryFailed extends Error {
  override readonly name = 'DeliveryFailed';

  /** @param retryAfterMs what the receiver asked for */
  constructor(
    message: string,
    readonly info?: ErrorInfo,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

/** A try that failed in a way that no other try can mend. */
export class DeliveryRefused extends Reject {
  constructor(
    message: string,
    readonly info?: ErrorInfo,
  ) {
    super(message);
  }
}

export interface Answer extends Message {
  readonly status: number;
}

/** Longest answer that is read, in bytes. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** How long an answer is waited for where no timeout is given, in ms; a real broker would wait for ever. */
const RESPONSE_TIMEOUT_MS = 300_000;

/** Connections to one address. */
const CONNECTIONS = 256;

/** Posts events, over connections that are kept. */
export class Subscribers {
  private readonly agent = new Agent({
    connections: CONNECTIONS,
    keepAliveTimeout: 30_000,
    headersTimeout: RESPONSE_TIMEOUT_MS,
    bodyTimeout: RESPONSE_TIMEOUT_MS,
  });

  /**
   * One try. Redirects are not followed: what they'd turn the event into is listed among the differences.
   * @returns an answer with a 2xx status
   * @throws DeliveryFailed, DeliveryRefused
   */
  async post(url: string, { headers, body }: Message, timeoutMs?: number): Promise<Answer> {
    const answer = await this.send(url, { headers, body }, timeoutMs);
    const { status } = answer;
    if (status >= 200 && status < 300) return answer;
    // Measured: 304 has no body, so that the filter's report of it gets lost on the way.
    const info = status === 304 ? undefined : { destination: url, code: status, body: answer.body };
    const text = `${status}${answer.body.length > 0 ? ` ${excerpt(answer.body)}` : ''}`;
    if (!isRetryable(status)) throw new DeliveryRefused(text, info);
    const isAsking = status === 429 || status === 503;
    throw new DeliveryFailed(text, info, isAsking ? retryAfterMs(answer.headers['retry-after']) : undefined);
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async send(url: string, { headers, body }: Message, timeoutMs?: number): Promise<Answer> {
    const signal = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
    try {
      const answer = await request(url, { method: 'POST', headers, body, signal, dispatcher: this.agent });
      return { status: answer.statusCode, headers: flat(answer.headers), body: await limited(answer.body) };
    } catch (error) {
      // Measured: a dead letter that timed out says nothing of its death.
      if (signal?.aborted) throw new DeliveryFailed(`No answer within ${timeoutMs} ms`);
      const text = inGo(error as NetworkError);
      throw new DeliveryFailed(text, { destination: url, code: 500, body: `dispatch error: Post "${url}": ${text}` });
    }
  }
}

/** Undici reads headers as UTF-8; here they are bytes. */
function flat(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const first = (value: string | string[] = '') => asHeader(Array.isArray(value) ? (value[0] ?? '') : value);
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, first(value)]));
}

async function limited(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

interface NetworkError extends Error {
  readonly code?: string;
  readonly address?: string;
  readonly port?: number;
}

/** Network errors in the words of a Go client, where there are any. */
function inGo(error: NetworkError): string {
  // Several addresses of one name, each with its own error.
  const { code, address, port, message } = (error as { errors?: NetworkError[] }).errors?.[0] ?? error;
  if (code === 'ECONNREFUSED') return `dial tcp ${address}:${port}: connect: connection refused`;
  return code === 'UND_ERR_SOCKET' ? 'EOF' : message || String(code);
}

/** Seconds, or the date of an HTTP header; anything else is nothing. */
function retryAfterMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const ms = / GMT$/.test(text) ? Date.parse(text) - Date.now() : Number.NaN;
  return ms > 0 ? ms : undefined;
}

function excerpt(body: Buffer): string {
  return body.subarray(0, 200).toString('utf8').replace(/\s+/g, ' ');
}
