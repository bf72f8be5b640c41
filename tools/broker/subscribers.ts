import { gunzipSync } from 'node:zlib';
import { Agent, request } from 'undici';
import { isRetriedByKnative } from '../../src/infrastructure/broker/response-classes.js';
import { DeliveryFailed, DeliveryRefused } from './delivery-errors.js';
import { asHeader, type Message } from './stored-event.js';

export interface Answer extends Message {
  readonly status: number;
}

export interface Limits {
  /** Longest wait for the answer, in ms. */
  readonly timeoutMs?: number;
  /** Cancels the request. */
  readonly signal: AbortSignal;
}

/** Largest answer that is read, in bytes, also after it is decoded. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Longest wait for an answer when the manifest has no timeout, in ms. A real broker waits for ever. */
const RESPONSE_TIMEOUT_MS = 300_000;

/** Posts events to subscribers over keep-alive connections: as many at a time as there are events, as a real broker. */
export class Subscribers {
  private readonly agent = new Agent({
    keepAliveTimeout: 30_000,
    headersTimeout: RESPONSE_TIMEOUT_MS,
    bodyTimeout: RESPONSE_TIMEOUT_MS,
  });

  /**
   * Makes one attempt. Redirects are not followed, see differences.ts.
   * @returns an answer with a 2xx status
   * @throws DeliveryFailed, DeliveryRefused, or the reason of the signal
   */
  async post(url: string, message: Message, limits: Limits): Promise<Answer> {
    const answer = await this.send(url, message, limits);
    const { status } = answer;
    if (status >= 200 && status < 300) return answer;
    // Measured: 304 has no body, so the dead letter has no error attributes.
    const info = status === 304 ? undefined : { destination: url, code: status, body: answer.body };
    const text = `${status}${answer.body.length > 0 ? ` ${excerpt(answer.body)}` : ''}`;
    if (!isRetriedByKnative(status)) throw new DeliveryRefused(text, info);
    const isAsking = status === 429 || status === 503;
    throw new DeliveryFailed(text, info, isAsking ? retryAfterMs(answer.headers['retry-after']) : undefined);
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async send(url: string, { headers, body }: Message, { timeoutMs, signal }: Limits): Promise<Answer> {
    const timeout = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
    try {
      const answer = await request(url, {
        method: 'POST',
        headers,
        body,
        signal: timeout ? AbortSignal.any([signal, timeout]) : signal,
        dispatcher: this.agent,
      });
      return decoded({
        status: answer.statusCode,
        headers: flat(answer.headers),
        body: await limited(answer.body),
      });
    } catch (error) {
      signal.throwIfAborted();
      // Measured: after a timeout the dead letter has no error attributes.
      if (timeout?.aborted) throw new DeliveryFailed(`No answer within ${timeoutMs} ms`);
      const text = goMessageOf(error as NetworkError);
      throw new DeliveryFailed(text, { destination: url, code: 500, body: `dispatch error: Post "${url}": ${text}` });
    }
  }
}

/** undici decodes headers as UTF-8, but events keep one character for each byte. */
function flat(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const first = (value: string | string[] = '') => asHeader(Array.isArray(value) ? (value[0] ?? '') : value);
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, first(value)]));
}

/** Decodes gzip, as Go's client does, and no other encoding. @throws Error for an invalid body */
function decoded(answer: Answer): Answer {
  if (answer.headers['content-encoding']?.toLowerCase() !== 'gzip' || answer.body.length === 0) return answer;
  const { 'content-encoding': _, ...headers } = answer.headers;
  return { ...answer, headers, body: gunzipSync(answer.body, { maxOutputLength: MAX_ANSWER_BYTES }) };
}

async function limited(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

interface NetworkError extends Error {
  readonly code?: string;
  readonly address?: string;
  readonly port?: number;
}

/** The message of a Go client for a network error. */
function goMessageOf(error: NetworkError): string {
  // A host with several addresses has an error for each.
  const { code, address, port, message } = (error as { errors?: NetworkError[] }).errors?.[0] ?? error;
  if (code === 'ECONNREFUSED') return `dial tcp ${address}:${port}: connect: connection refused`;
  return code === 'UND_ERR_SOCKET' ? 'EOF' : message || String(code);
}

/** @param text seconds or an HTTP date; other text is ignored */
function retryAfterMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const ms = / GMT$/.test(text) ? Date.parse(text) - Date.now() : Number.NaN;
  return ms > 0 ? ms : undefined;
}

function excerpt(body: Buffer): string {
  return body.subarray(0, 200).toString('utf8').replace(/\s+/g, ' ');
}
