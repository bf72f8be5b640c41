import type { IncomingMessage, ServerResponse } from 'node:http';
import { RefusedError } from '../errors.js';
import type { Channel, IngressAnswers } from './channel.js';
import { ALLOW } from './go-http.js';
import { BodyTooLarge, bodyOf, UnreadableBody } from './request-body.js';
import type { StoredEvent } from './stored-event.js';
import { accept, read } from './wire.js';

/*
 * The HTTP endpoint of a broker. It answers as recorded from Knative Eventing. All answers have an empty body, so a publisher
 * doesn't learn why an event is refused; the terminal shows the reason.
 */

export interface Ingress {
  /** Names as `<namespace>/<name>`. */
  readonly brokers: readonly string[];
  readonly answers: IngressAnswers;
  readonly channel: Channel;
  /** Called with the reason when an event is refused. */
  onRefused(status: number, reason: string): void;
}

/**
 * Answers a request to a broker.
 * @param signal is aborted when the publisher hangs up or the broker stops; then there is no answer
 */
export async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  ingress: Ingress,
  signal: AbortSignal,
): Promise<void> {
  if (isProbe(request, ingress.answers)) {
    const hash = request.headers['k-network-hash'];
    return end(response, 200, hash ? { 'K-Network-Hash': hash as string } : {});
  }
  response.setHeader('Allow', ALLOW);
  if (request.method === 'OPTIONS') {
    return end(response, 200, { 'WebHook-Allowed-Origin': '*', 'WebHook-Allowed-Rate': '*' });
  }
  if (request.method !== 'POST') return end(response, 405);
  try {
    await ingress.channel.send(await eventIn(request, response, ingress), signal);
    end(response, 202);
  } catch (error) {
    if (signal.aborted) return void response.destroy();
    const status = statusOf(error, ingress.answers);
    ingress.onRefused(status, (error as Error).message);
    // The connection can't be reused, because the rest of the body has not been read.
    if (!request.complete) response.setHeader('Connection', 'close');
    end(response, status);
  }
}

/** Any other error is one of a delivery or of the database: the publisher posts the event again. */
function statusOf(error: unknown, { unreadableBody }: IngressAnswers): number {
  if (error instanceof RefusedError) return error.status;
  if (error instanceof UnreadableBody) return unreadableBody;
  return error instanceof BodyTooLarge ? 413 : 500;
}

/** @throws RefusedError with the status of the answer, UnreadableBody, BodyTooLarge */
async function eventIn(
  request: IncomingMessage,
  response: ServerResponse,
  { brokers, answers }: Ingress,
): Promise<StoredEvent> {
  const path = request.url ?? '';
  if (path === '/') throw new RefusedError('There is no broker at /', 404);
  const segments = path.replace(/\/$/, '').split('/');
  if (segments.length !== 3)
    throw new RefusedError(`Invalid path ${path.slice(0, 100)}: expected /<namespace>/<broker>`);
  // Neither decoded nor freed from a query: a real ingress looks for a Broker with this very name.
  const broker = segments.slice(1).join('/');
  const body = await bodyOf(request, response);
  const event = accept(read({ headers: firstHeaders(request), body }, broker));
  if (!brokers.includes(broker)) throw new RefusedError(`There is no Broker ${broker}`, answers.unknownBroker);
  return event;
}

/** Whether this is a health check of Kubernetes or Knative: they use any method and path. */
function isProbe({ headers }: IncomingMessage, { hasKubeletProbe }: IngressAnswers): boolean {
  const isKubelet = headers['user-agent']?.startsWith('kube-probe/');
  return isKubelet || (hasKubeletProbe && 'k-kubelet-probe' in headers) || headers['k-network-probe'] === 'probe';
}

/** The headers, with the first value of a repeated header. Node would join the values. */
function firstHeaders({ rawHeaders }: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let index = 0; index < rawHeaders.length; index += 2) {
    headers[rawHeaders[index]!.toLowerCase()] ??= rawHeaders[index + 1]!;
  }
  return headers;
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, ...(status !== 204 && { 'Content-Length': '0' }) }).end();
}
