import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { isSuccess } from './response-classes.js';

/** A response to a posted event. */
export interface ClientResponse {
  readonly status: number;
  /** The wait that the receiver asks for, in ms. */
  readonly retryAfterMs?: number;
  /** The beginning of the body; empty for a success. */
  readonly body: string;
}

/** Characters of an error's body that are kept. */
const KEPT_BODY_LENGTH = 1000;
/** A longer body ends the connection, in bytes. */
const MAX_BODY_BYTES = 128 * 1024;

/** Receives one response below undici's `request()`, which would make a stream that no reader needs. */
export class ResponseHandler implements Dispatcher.DispatchHandler {
  private response: ClientResponse = { status: 0, body: '' };
  private length = 0;
  private readonly chunks: Buffer[] = [];

  constructor(
    private readonly resolve: (response: ClientResponse) => void,
    private readonly reject: (error: Error) => void,
  ) {}

  /** Its presence tells undici which handler interface this is. */
  onRequestStart(): void {
    return;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return; // 1xx precedes the response
    this.response = { status, body: '', ...retryAfter(headers['retry-after']) };
    // A success is final with its headers. The connection is free again when the body has been read.
    if (isSuccess(status)) this.resolve(this.response);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.length += chunk.length;
    if (!isSuccess(this.response.status)) this.chunks.push(chunk);
    if (this.length > MAX_BODY_BYTES)
      controller.abort(new Error(`The response is longer than ${MAX_BODY_BYTES} bytes`));
  }

  onResponseEnd(): void {
    if (isSuccess(this.response.status)) return; // resolved with its headers
    const body = Buffer.concat(this.chunks).toString().slice(0, KEPT_BODY_LENGTH);
    this.resolve({ ...this.response, body });
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    // A status that has arrived is a response, also when the body breaks off.
    if (this.response.status === 0) this.reject(error);
    else this.onResponseEnd();
  }
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3); other values are ignored. */
function retryAfter(value: string | string[] | undefined): { retryAfterMs?: number } {
  if (typeof value !== 'string') return {};
  const ms = /^\d{1,9}$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? { retryAfterMs: ms } : {};
}
