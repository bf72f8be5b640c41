import { inspect } from 'node:util';
import { printable } from '../../src/infrastructure/observability/printable.js';
import { ErrorAnswer, Unreachable } from './aggregator.js';
import { sendJson, sendProblem, type Exchange } from './answers.js';

/** Answers a request that failed. */
export function sendError(to: Exchange, error: unknown): void {
  if (to.response.headersSent || to.response.destroyed) return void to.response.destroy();
  if (error instanceof Unreachable) return sendProblem(to, 503, error.message);
  if (error instanceof ErrorAnswer) {
    const { status, body } = error.answer;
    to.response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
    return sendJson(to, status, { ...body, instance: to.path });
  }
  console.error(printable(inspect(error)));
  sendProblem(to, 500, 'The gateway failed');
}
