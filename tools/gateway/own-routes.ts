import { hasBody } from '../../src/infrastructure/http/request-body.js';
import type { Aggregator } from './aggregator.js';
import { sendJson, sendProblem, type Exchange } from './answers.js';
import { act, disturb, kill, session, stream, topology } from './console.js';
import { listDeadLetters, replayDeadLetters } from './dead-letters.js';
import { listJournal } from './journal.js';
import { sendMetrics } from './metrics.js';
import type { ModuleRoute, Route, RouteTable } from './routes.js';

/** A route that the gateway answers itself. */
export interface OwnRoute extends Route {
  answer(to: Exchange, aggregator: Aggregator, id: string): Promise<void>;
}

/** Routes whose answers are aggregated from all processes. */
export function aggregatedRoutes(table: RouteTable<ModuleRoute>): OwnRoute[] {
  const reply = (status: number, aggregate: (aggregator: Aggregator, query: string) => Promise<object>) => ({
    answer: async (to: Exchange, aggregator: Aggregator) => {
      // The processes would refuse a body, but get none from here.
      if (to.path.startsWith('/mesh/') && hasBody(to.request))
        return sendProblem(to, 400, 'body: this route takes no body, only query parameters');
      sendJson(to, status, await aggregate(aggregator, to.query));
    },
  });
  const shown = (path: string) =>
    /^\/(health|mesh\/(console|journal|outbox|metrics|dead-letters|reconciliations)|asyncapi\.json)\b/.test(path) ||
    table.findPath(path.replace(/[{}]/g, '')) !== undefined;
  return [
    { method: 'GET', path: '/health/live', ...reply(200, async () => ({ status: 'live' })) },
    { method: 'GET', path: '/health/ready', ...reply(200, (it) => it.ready()) },
    { method: 'GET', path: '/api-json', ...reply(200, (it) => it.document(shown)) },
    { method: 'GET', path: '/mesh/outbox', ...reply(200, (it, query) => it.outbox(query)) },
    { method: 'GET', path: '/mesh/journal', ...reply(200, listJournal) },
    { method: 'GET', path: '/mesh/metrics', answer: sendMetrics },
    { method: 'GET', path: '/mesh/console/session', ...reply(200, session) },
    { method: 'GET', path: '/mesh/console/topology', ...reply(200, topology) },
    { method: 'GET', path: '/mesh/console/stream', answer: stream },
    { method: 'POST', path: '/mesh/console/actions/:id', answer: act },
    { method: 'POST', path: '/mesh/console/faults', answer: disturb },
    { method: 'POST', path: '/mesh/console/kill', answer: kill },
    { method: 'GET', path: '/asyncapi.json', ...reply(200, (it, query) => it.asyncApi(query)) },
    { method: 'GET', path: '/mesh/dead-letters', ...reply(200, listDeadLetters) },
    {
      method: 'GET',
      path: '/mesh/reconciliations',
      ...reply(200, (it, query) => it.reconciliations('GET', `?${query}`)),
    },
    {
      method: 'POST',
      path: '/mesh/reconciliations/run',
      ...reply(202, (it, query) => it.reconciliations('POST', `/run?${query}`)),
    },
    { method: 'POST', path: '/mesh/dead-letters/replay', ...reply(202, replayDeadLetters) },
  ];
}

/** Routes that are forwarded to the process that keeps the dead letter. */
export const deadLetterRoutes: readonly Route[] = [
  { method: 'GET', path: '/mesh/dead-letters/:id' },
  { method: 'DELETE', path: '/mesh/dead-letters/:id' },
  { method: 'POST', path: '/mesh/dead-letters/:id/replay' },
];
