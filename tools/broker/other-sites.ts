import type { IncomingMessage, ServerResponse } from 'node:http';
import { otherSiteProblem } from '../../src/infrastructure/http/request-checks.js';

/**
 * Answers with 403 what a page of another site makes a browser on this machine send. A real broker has no such check: only
 * programs in its cluster reach it. @returns whether it did
 */
export function refuseOtherSite(request: IncomingMessage, response: ServerResponse): boolean {
  const problem = otherSiteProblem(request, true);
  if (!problem) return false;
  const body = JSON.stringify({ type: 'about:blank', title: 'Not allowed', status: 403, detail: problem.message });
  // The body of the request is not read.
  response.shouldKeepAlive = false;
  const headers = { 'Content-Type': 'application/problem+json', 'Content-Length': Buffer.byteLength(body) };
  response.writeHead(403, headers).end(body);
  return true;
}
